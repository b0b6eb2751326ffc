/** `vtp generate` and `vtp eval-gen` as processes, on the reference data: official noise, images and network. */
import { copyFileSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import sharp from 'sharp'
import { afterAll, describe, expect, it } from 'vitest'
import { goldenPath } from '../golden.js'
import { type CliResult, runCli } from '../support/cli.js'
import { hashWeightsFolder } from '../support/hash-weights.js'

const dir = mkdtempSync(path.join(tmpdir(), 'vtp official '))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const at = (...parts: string[]): string => path.join(dir, ...parts)
const golden = (...parts: string[]): string => goldenPath('lightningdit', ...parts)

const MODELS = [
  'generate',
  ...['--dit', golden('vtp_style', 'model.safetensors'), '--model', golden('gen_vtp'), '--stats', golden('extract')],
]

async function done(args: string[]): Promise<CliResult> {
  const result = await runCli(args)
  expect(result.stderr + result.code).toMatch(/0$/)
  return result
}

describe('on the reference data', { timeout: 300_000 }, () => {
  it("the official images for the reference's own noise and classes", async () => {
    const latents = golden('do_sample', 'latents.safetensors')
    const out = at('official')
    await done([
      ...MODELS,
      ...['--noise', `${latents}#z`, '--labels', `${latents}#y`, '--steps', '8', '--timestep-shift', '0.075'],
      ...['--cfg-scale', '2', '--cfg-interval-start', '0.1', '--out', out],
    ])
    const names = readdirSync(out).filter((name) => name.endsWith('.png'))
    expect(names).toEqual(readdirSync(golden('do_sample')).filter((name) => name.endsWith('.png')))
    for (const name of names) {
      const [ours, theirs] = await Promise.all(
        [path.join(out, name), golden('do_sample', name)].map((file) => sharp(file).raw().toBuffer()),
      )
      let worst = 0
      theirs!.forEach((value, i) => {
        worst = Math.max(worst, Math.abs(value - ours![i]!))
      })
      expect(worst, name).toBeLessThanOrEqual(2)
    }
  })

  it('noise of another shape is refused', async () => {
    const noise = `${golden('vtp_style', 'model.safetensors')}#x_embedder.proj.weight`
    const result = await runCli([...MODELS, '--noise', noise, '--out', at('no')])
    expect(result.code).toBe(2)
    expect(result.stderr).toMatch(/is \[64,16,1,1\]; \[M,16,8,8\] was expected/)
  })

  it('eval-gen judges the samples alone, with its protocol and theirs; a run with holes is refused', async () => {
    const weights = ['--weights', hashWeightsFolder(), '--reference', at('reference.npz'), '--json']
    const dest = at('judged')
    const small = ['--steps', '4', '--cfg-scale', '1.5', '--num', '12', '--shard-rows', '4', '--timestep-shift', '0.3']
    await done([...MODELS, ...small, '--npz', '--grid', '1x2', '--out', dest])
    copyFileSync(at('judged', 'samples.npz'), at('reference.npz'))
    const { stdout } = await done(['eval-gen', dest, ...weights, '--metrics', 'fid,is'])
    const result = JSON.parse(stdout) as Record<string, unknown>
    // Against themselves: the preview in the same folder is no sample.
    expect(result.fid).toBeLessThan(1e-3)
    expect(result).toMatchObject({ images: 12, rejects: 0, interrupted: false })
    expect(result.inceptionScore).toBeGreaterThan(0.99)
    expect(result.protocol).toMatch(/adm.*N = 12 and 12/)
    expect(result.samples).toMatch(/12 samples of model\.safetensors.*euler 4, shift 0\.3; guidance 1\.5.*philox/)
    rmSync(at('judged', '_vtp', 'commits', '00001.json'))
    const refused = await runCli(['eval-gen', dest, ...weights])
    expect(refused.code).toBe(2)
    expect(refused.stderr).toMatch(/holds 8 of 12 images/)
  })
})
