/** Other families as users meet them: the model card's table, a fine-tuned head, and checkpoints that cannot be used. */
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import type { CardJson } from '../../src/cli/run/eval-card.js'
import type { ClassesJson } from '../../src/cli/run/eval-classes.js'
import { goldenPath } from '../golden.js'
import { runCli, sharedTempDir, tempDir } from '../support/cli.js'
import { encodedPicture } from '../support/images.js'
import { runHere } from '../support/run-here.js'

const data = sharedTempDir()
const tuned = goldenPath('peers', 'mae_finetuned', 'mae_finetuned_vit_large.pth')

async function writeClasses(): Promise<void> {
  for (const [i, name] of ['apple', 'bridge'].entries()) {
    mkdirSync(path.join(data, 'val', name), { recursive: true })
    for (let k = 0; k < 2; k++)
      writeFileSync(path.join(data, 'val', name, `${k}.png`), await encodedPicture(2 * i + k, 80, 70, 'png'))
  }
}

describe('vtp eval --card', () => {
  it('prints our number beside the published one, says what to pull, and puts every doubt below', async () => {
    await writeClasses()
    const out = path.join(data, 'card')
    const args = ['eval', '--card', '--data', data, '--classnames', 'folder', '--out', out]
    const models = [
      ['--card-model', 'vtp-l=nano'],
      ['--card-model', `clip=${goldenPath('peers', 'openclip_fullvocab')}`],
      ['--card-model', `mae=${tuned}`],
    ].flat()
    const rows = ['--rows', 'vtp-l,clip,mae,siglip,dinov2,va-vae-gen']
    const { code, stdout } = await runCli([...args, ...rows, ...models], { env: { HF_HOME: path.join(data, 'hf') } })
    expect(code).toBe(0)
    expect(stdout).toMatch(/^vtp-l +VTP-L: nano +zero-shot +\d+\.\d +78\.2/m)
    expect(stdout).toMatch(/^mae .*fine-tuned +\d+\.\d +85\.9 \[3\]/m)
    expect(stdout).toContain('[3] 85.9 is not a linear probe')
    expect(stdout).toMatch(/siglip \(.*\): not measured: .*vtp model pull google\/siglip-large-patch16-256/)
    expect(stdout).toMatch(/dinov2 \(.*\): not measured: a probe needs DATA\/train/)
    const table = stdout.split('\n\n')[0]!
    for (const line of table.split('\n')) expect(line.length).toBeLessThanOrEqual(80)
    const json = JSON.parse(readFileSync(path.join(out, 'card.json'), 'utf8')) as CardJson['rows']
    expect(json.map(({ id, ours }) => [id, typeof ours])).toEqual([
      ['vtp-l', 'number'],
      ['clip', 'number'],
      ['mae', 'number'],
      ['siglip', 'undefined'],
      ['dinov2', 'undefined'],
      ['va-vae-gen', 'undefined'],
    ])
    expect(json[1]!.protocol).toContain('resize(32,bicubic)|center-crop(32), N = 4')
    expect(readFileSync(path.join(out, 'card.md'), 'utf8')).toMatch(/^\| row \| model \| what \| ours \|/)
    expect(readFileSync(path.join(out, 'card.html'), 'utf8')).toContain('<th class="n">published</th>')
  }, 120_000)

  it('names the rows that there are', async () => {
    const { code, stderr } = await runHere(['eval', '--card', '--data', data, '--rows', 'clap'])
    expect(code).toBe(2)
    expect(stderr).toMatch(/no row "clap"[\s\S]*openclip, clip, siglip/)
  })
})

describe('vtp eval-head', () => {
  it('classifies by the model’s own head', async () => {
    await writeClasses()
    const { code, stdout } = await runHere(['eval-head', path.join(data, 'val'), '--model', tuned, '--json'])
    expect(code).toBe(0)
    const json = JSON.parse(stdout) as ClassesJson
    expect(json).toMatchObject({ images: 4, rejects: 0, interrupted: false })
    expect(json.protocol).toContain('own head of 20 classes')
  }, 60_000)

  it('is refused for a model without one', async () => {
    const { code, stderr } = await runHere(['eval-head', path.join(data, 'val'), '--model', 'nano'])
    expect(code).toBe(2)
    expect(stderr).toMatch(/logits/)
  }, 60_000)
})

/** A copy of a case with something wrong in it. */
function spoiled(name: string, spoil: (folder: string) => void): string {
  const folder = path.join(tempDir(), name)
  cpSync(goldenPath('peers', name), folder, { recursive: true })
  spoil(folder)
  return folder
}
const edit = (file: string, change: (text: string) => string) => (folder: string) =>
  writeFileSync(path.join(folder, file), change(readFileSync(path.join(folder, file), 'utf8')))
const evil = (folder: string) =>
  writeFileSync(
    path.join(folder, 'open_clip_pytorch_model.bin'),
    `cposix\nsystem\n(S'touch "${path.join(folder, 'EXECUTED')}"'\ntR.`,
  )

describe('a checkpoint that cannot be used ends in one clear message (all of them: peers-damaged.test.ts)', () => {
  it.each<[what: string, name: string, spoil: (folder: string) => void, message: RegExp]>([
    ['a pickle with code in it', 'openclip_quickgelu_fp16_bin', evil, /refused|not a/],
    [
      'an option that is not supported',
      'openclip_gelu',
      edit('open_clip_config.json', (text) => text.replace(/("vision_cfg": \{)/, '$1"attentional_pool": true,')),
      /vision_cfg\.attentional_pool true is not supported/,
    ],
  ])(
    '%s',
    async (_what, name, spoil, message) => {
      const folder = spoiled(name, spoil)
      const { code, stdout, stderr } = await runHere(['model', 'info', folder])
      expect([2, 3]).toContain(code)
      expect(stderr).toMatch(message)
      expect(stderr.match(/Error:/g)).toHaveLength(1)
      expect(`${stdout}${stderr}`).not.toMatch(/\n {4}at /)
      expect(existsSync(path.join(folder, 'EXECUTED'))).toBe(false)
    },
    60_000,
  )
})
