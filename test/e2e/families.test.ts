/** Every family with every command: what a model has works, what it lacks is refused by name. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { encodeSafetensorsHeader } from '../../src/io/safetensors.js'
import { goldenPath } from '../golden.js'
import { sharedTempDir } from '../support/cli.js'
import { withTokenizer } from '../support/grown-vocabulary.js'
import { encodedPicture } from '../support/images.js'
import { type HereResult, runHere } from '../support/run-here.js'
import { startServe } from '../support/search-server.js'

const dir = sharedTempDir()
const at = (...parts: string[]): string => path.join(dir, ...parts)
const photos = at('photos')
const TEXTS = ['a photo of an apple', 'a stone bridge over the river']

/** Models by the names of the table below. */
const MODELS: Record<string, string> = {
  clip: goldenPath('peers', 'openclip_fullvocab'),
  siglip: at('siglip'),
  vilau: at('vilau'),
  unitok: goldenPath('peers', 'unitok_attn'),
  dinov2: goldenPath('peers', 'dinov2_hf'),
  mae: goldenPath('peers', 'mae_hf'),
  'mae fine-tuned': goldenPath('peers', 'mae_finetuned'),
  vavae: goldenPath('peers', 'vavae'),
  rae: goldenPath('peers', 'rae_dinov2'),
}

beforeAll(async () => {
  for (const [i, name] of ['apple', 'bridge'].entries()) {
    mkdirSync(path.join(photos, name), { recursive: true })
    for (let k = 0; k < 2; k++)
      writeFileSync(path.join(photos, name, `${k}.png`), await encodedPicture(2 * i + k, 80, 70, 'png'))
  }
  writeFileSync(at('texts.txt'), TEXTS.join('\n'))
  await withTokenizer('siglip_hf', at('siglip'))
  await withTokenizer('vilau', at('vilau'))
})

const SHORT = ['--epochs', '1', '--epoch-length', '1', '--batch-size', '4', '--learning-rates', '0.1']
const SMALL = ['--transform', 'adm-crop(64)']
const NO_TEXT = /has no text tower \(it knows images only\)/
const NO_CLIP = /has no output "clip" \(it has no embedding that texts share\)/
const NO_DECODER = /has no pixel decoder \(it does not reconstruct images\)/

/** What a command's end is for the models that it does not run: the others must do it. */
const COMMANDS: [command: string, args: (out: string) => string[], refused: Record<string, RegExp>][] = [
  [
    'embed',
    (out) => ['embed', photos, '--out', out],
    { dinov2: NO_CLIP, mae: NO_CLIP, 'mae fine-tuned': NO_CLIP, vavae: NO_CLIP, rae: NO_CLIP },
  ],
  [
    'embed --text',
    (out) => ['embed', '--text', at('texts.txt'), '--out', out],
    {
      unitok: /vocabulary of 300 tokens; CLIP's tokenizer has 49408/,
      ...{ dinov2: NO_TEXT, mae: NO_TEXT, 'mae fine-tuned': NO_TEXT, vavae: NO_TEXT, rae: NO_TEXT },
    },
  ],
  [
    'eval-zeroshot',
    () => ['eval-zeroshot', photos, '--classnames', 'folder'],
    {
      unitok: /vocabulary of 300 tokens/,
      ...{ dinov2: NO_TEXT, mae: NO_TEXT, 'mae fine-tuned': NO_TEXT, vavae: NO_TEXT, rae: NO_TEXT },
    },
  ],
  [
    'eval-probe',
    () => ['eval-probe', '--train', photos, '--val', photos, ...SHORT],
    { vavae: /no vector that stands for an image/, rae: /no vector that stands for an image[\s\S]*encoder/ },
  ],
  [
    'eval-recon',
    () => ['eval-recon', photos, '--metrics', 'psnr', ...SMALL],
    { clip: NO_DECODER, siglip: NO_DECODER, dinov2: NO_DECODER, mae: NO_DECODER, 'mae fine-tuned': NO_DECODER },
  ],
  [
    'decode',
    (out) => ['decode', path.join(photos, 'apple', '0.png'), '--out', `${out}.png`, ...SMALL],
    { clip: NO_DECODER, siglip: NO_DECODER, dinov2: NO_DECODER, mae: NO_DECODER, 'mae fine-tuned': NO_DECODER },
  ],
  [
    'eval-head',
    () => ['eval-head', photos],
    Object.fromEntries(
      Object.keys(MODELS)
        .filter((name) => name !== 'mae fine-tuned')
        .map((name) => [name, /has no output "logits"/]),
    ),
  ],
]

const NAMES = Object.keys(MODELS)

describe.each(COMMANDS)('vtp %s', (command, args, refused) => {
  it.each(NAMES)('%s', async (name) => {
    const out = at(`${name} ${command}`)
    const { code, stderr } = await runHere([...args(out), '--model', MODELS[name]!])
    const reason = refused[name]
    expect({ code, stderr }).toEqual({ code: reason ? 2 : 0, stderr: expect.stringMatching(reason ?? /(?:)/) })
    if (reason) expect(stderr.match(/Error:/g)).toHaveLength(1)
  })
})

describe('vtp model', () => {
  it.each(NAMES)('info and export of %s agree', async (name) => {
    const out = at(`${name} graphs`)
    const info = await ok(['model', 'info', MODELS[name]!, '--json'])
    await ok(['model', 'export', MODELS[name]!, '--out', out, '--outputs', outputsOf(info).join(',')])
    const graphs = readdirSync(out).filter((file) => file.endsWith('.onnx'))
    const { towers } = JSON.parse(info.stdout) as { towers: string[] }
    expect(graphs.sort()).toEqual(towers.map((tower) => `${tower}.onnx`).sort())
  })
})

async function ok(args: string[]): Promise<HereResult> {
  const result = await runHere(args)
  expect(result.code, result.stderr).toBe(0)
  return result
}

function outputsOf({ stdout }: HereResult): string[] {
  const { outputs } = JSON.parse(stdout) as { outputs: { name: string }[] }
  return outputs.map(({ name }) => name).filter((name) => !name.startsWith('layer'))
}

describe('latents for LightningDiT', () => {
  it.each(['vavae', 'rae'])('of %s train a transformer, whose samples its decoder makes visible', async (name) => {
    const [latents, run, images] = ['latents', 'run', 'images'].map((part) => at(`${name} ${part}`)) as [
      string,
      string,
      string,
    ]
    const model = ['--model', MODELS[name]!]
    await ok(['encode', photos, '--out', latents, ...model, '--format', 'safetensors', '--flip', ...SMALL])
    expect(readdirSync(latents)).toEqual(
      expect.arrayContaining(['latents_rank00_shard000.safetensors', 'latents_stats.pt']),
    )
    const steps = ['--steps', '1', '--batch-size', '2', '--lr', '1e-3']
    await ok(['train', latents, '--out', run, '--size', '16x1x2/1', ...steps, ...model])
    const dit = path.join(run, 'checkpoints', '0000001.pt')
    const sampling = ['--stats', latents, '--num', '2', '--steps', '2']
    await ok(['generate', '--dit', dit, ...model, ...sampling, '--out', images])
    expect(readdirSync(images).filter((file) => file.endsWith('.png'))).toHaveLength(2)
  })

  it('on a grid that RAE has no positions for are refused', async () => {
    const { bytes } = encodeSafetensorsHeader([{ name: 'latents', dtype: 'F32', shape: [1, 48, 8, 8] }])
    writeFileSync(at('large.safetensors'), Buffer.concat([bytes, Buffer.alloc(48 * 64 * 4)]))
    const args = ['decode', at('large.safetensors'), '--model', MODELS.rae!, '--out', at('large')]
    const { code, stderr } = await runHere(args)
    expect(code).toBe(2)
    expect(stderr).toContain('decodes latents of 4×4 places, not 8×8')
  })

  it('a published configuration that names its tokenizer wants its place', async () => {
    const recipe = at('recipe.yaml')
    writeFileSync(recipe, 'model: {model_type: LightningDiT-XL/1, in_chans: 32}\nvae: {model_name: vavae_f16d32}\n')
    const { code, stderr } = await runHere(['generate', '--config', recipe, '--dit', 'x.pt', '--out', at('none')])
    expect(code).toBe(2)
    expect(stderr).toMatch(/the tokenizer is vavae_f16d32, but not where it is[\s\S]*--model/)
  })
})

describe('a SigLIP index', () => {
  const index = at('siglip.index')
  beforeAll(async () => {
    await ok(['embed', photos, '--model', at('siglip'), '--out', at('siglip rows')])
    await ok(['index', at('siglip rows'), '--out', index, '--kind', 'exact', '--model', at('siglip')])
  })

  it('is searched by text and by image, and lists duplicates', async () => {
    const byText = JSON.parse((await ok(['search', index, TEXTS[0]!, '-k', '4', '--json'])).stdout)
    expect(byText.results).toHaveLength(4)
    const picture = path.join(photos, 'bridge', '1.png')
    const byImage = JSON.parse((await ok(['search', index, '--image', picture, '-k', '1', '--json'])).stdout)
    expect(byImage.results[0].key).toBe('bridge/1.png')
    await ok(['dedup', index, '--threshold', '0.9999'])
  })

  it('is served: the page and its API take text queries', async () => {
    const server = await startServe(index)
    try {
      expect(await (await fetch(server.url)).text()).toContain('<input')
      const answer = await fetch(new URL(`/api/search?q=${encodeURIComponent(TEXTS[1]!)}&k=2`, server.url))
      expect(answer.status).toBe(200)
      expect(((await answer.json()) as { results: unknown[] }).results).toHaveLength(2)
    } finally {
      expect(await server.stop()).toBe(0)
    }
  })

  it('classify gives each label its own sigmoid probability; CLIP shares one among them', async () => {
    const sums = async (model: string): Promise<number[]> => {
      const args = ['classify', photos, '--labels', at('texts.txt'), '--top', '2', '--model', model]
      const lines = (await ok(args)).stdout.trim().split('\n')
      return lines.map((line) =>
        (JSON.parse(line) as { top: { probability: number }[] }).top.reduce((sum, each) => sum + each.probability, 0),
      )
    }
    for (const sum of await sums(MODELS.clip!)) expect(sum).toBeCloseTo(1, 4)
    // Its bias of about −10 makes both unlikely.
    for (const sum of await sums(at('siglip'))) expect(sum).toBeLessThan(0.999)
  })
})
