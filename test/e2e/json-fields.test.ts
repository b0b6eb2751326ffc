/** What `--json` says of images, rejects and the end means the same in every command over a SOURCE. */
import { cpSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { beforeAll, expect, it } from 'vitest'
import { runCli, sharedTempDir } from '../support/cli.js'
import { hashWeightsFolder } from '../support/hash-weights.js'
import { writePictures } from '../support/images.js'

const dir = sharedTempDir()
const at = (name: string): string => path.join(dir, name)
const photos = at('photos')
const sound = at('sound')
/** That many can be read; one more is empty, and one file is no image. */
const IMAGES = 6

beforeAll(async () => {
  await writePictures(photos, IMAGES)
  cpSync(photos, sound, { recursive: true })
  writeFileSync(path.join(photos, 'a', 'nothing.jpg'), '')
  writeFileSync(path.join(photos, 'b', 'notes.pdf'), 'notes')
  writeFileSync(at('names.txt'), 'a cat\na dog\na hen\n')
  writeFileSync(at('template.txt'), 'a photo of {c}.\n')
})

async function vtp(args: string[]): Promise<{ code: number | null; stderr: string; json: Record<string, unknown> }> {
  const { code, stdout, stderr } = await runCli([...args, '--json'])
  return { code, stderr, json: JSON.parse(stdout) }
}

const SMALL = ['--transform', 'resize(32,32,bilinear)']
const CLASSES = ['--classnames', at('names.txt'), '--templates', at('template.txt')]
const PROBE = ['--epochs', '1', '--epoch-length', '1', '--batch-size', '4', '--blocks', '1', '--learning-rates', '0.1']
const FID = ['--weights', hashWeightsFolder(), '--dims', '64']

it.each<[command: string, args: string[], images: unknown]>([
  ['encode', [photos, '--out', at('latents'), '--image-size', '32'], IMAGES],
  ['embed', [photos, '--out', at('embeddings')], IMAGES],
  ['decode', [photos, '--out', at('pictures')], IMAGES],
  ['classify', [photos, '--labels', at('names.txt')], IMAGES],
  ['eval-recon', [photos, '--metrics', 'psnr', ...SMALL], IMAGES],
  ['eval-zeroshot', [photos, ...CLASSES], IMAGES],
  ['eval-probe', ['--train', sound, '--val', photos, ...PROBE], { train: IMAGES, val: IMAGES }],
  ['fid', [sound, photos, ...FID], [IMAGES, IMAGES]],
])(
  'vtp %s counts images, rejects by reason and what was passed over, and says why it ends',
  async (name, args, images) => {
    const { code, stderr, json } = await vtp([name, ...args])
    expect(code, stderr).toBe(1)
    expect(json).toMatchObject({
      images,
      rejects: 1,
      rejectsByCode: { empty: 1 },
      passedOver: { count: 1, examples: ['b/notes.pdf'] },
      notes: [],
      exitReason: 'too_many_rejects',
    })
    expect(stderr.match(/1 other file was passed over \(b\/notes\.pdf\)/g)).toHaveLength(1)
  },
)

it.each<[command: string, args: string[]]>([
  ['show', ['show', photos, '--out', at('sheet.png'), '--image-size', '32']],
  ['model check', ['model', 'check', 'nano', photos]],
])('vtp %s counts the same, and looks at what can be read', async (name, args) => {
  const { code, stderr, json } = await vtp(args)
  expect(code, stderr).toBe(0)
  expect(json).toMatchObject({
    images: IMAGES,
    rejects: 1,
    rejectsByCode: { empty: 1 },
    passedOver: { count: 1, examples: ['b/notes.pdf'] },
    notes: [],
    exitReason: 'done',
  })
  expect(stderr.match(/1 other file was passed over \(b\/notes\.pdf\)/g), name).toHaveLength(1)
})

it('a command that is done says so', async () => {
  await vtp(['embed', sound, '--out', at('vectors')])
  for (const args of [
    ['index', at('vectors'), '--out', at('index'), '--kind', 'exact'],
    ['dedup', at('index')],
    ['decode', at('latents'), '--out', at('from latents'), '--limit', '1'],
    ['classify', at('vectors'), '--labels', at('names.txt')],
  ])
    expect((await vtp(args)).json.exitReason, args[0]).toBe('done')
  expect((await vtp(['finalize', at('vectors')])).json.exitReason).toBe('ok')
})
