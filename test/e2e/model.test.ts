/** `vtp model` and `vtp doctor` as users run them. */
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import type { DoctorJson } from '../../src/cli/run/doctor.js'
import type { ModelExportJson, ModelInfoJson, ModelPullJson } from '../../src/cli/run/model.js'
import type { ModelCheckJson } from '../../src/cli/run/model-check.js'
import * as ort from '../../src/engine/runtime.js'
import { repoRoot, runCli, tempDir } from '../support/cli.js'
import { COMMIT_A, startHub } from '../support/hub-server.js'

const nano = path.join(repoRoot, 'models', 'vtp-nano')

describe('vtp model info', () => {
  it('gives configuration, parameters per tower, digest and output shapes as one object', async () => {
    const { code, stdout, stderr } = await runCli(['model', 'info', 'nano', '--json'])
    expect([code, stderr]).toEqual([0, ''])
    const info = JSON.parse(stdout) as ModelInfoJson
    expect(info.digest).toMatch(/^[0-9a-f]{64}$/)
    expect(info.outputs.find(({ name }) => name === 'latents')?.shape).toEqual([64, 16, 16])
    expect(info.parameters.visionEncoder).toBeGreaterThan(2e6)
    expect(info.config.vision_depth).toBe(6)
    expect(info.towers).toEqual(['encoder', 'decoder', 'text'])
  })

  it('is readable without --json', async () => {
    const { stdout } = await runCli(['model', 'info', nano])
    expect(stdout).toMatch(/vision encoder +2\.8 M/)
    expect(stdout).toMatch(/latents +\[64, 16, 16\]/)
  })

  it('says what is missing for a folder that is no model', async () => {
    const { code, stderr } = await runCli(['model', 'info', tempDir()])
    expect(code).toBe(2)
    expect(stderr).toContain('has no config.json')
  })
})

describe('vtp model check', () => {
  it('shows for each precision the errors against fp32, the change of PSNR and the speed', async () => {
    const photos = path.join(repoRoot, 'fixtures', 'images')
    const { code, stdout } = await runCli(['model', 'check', 'nano', photos, '--limit', '3', '--json'])
    expect(code).toBe(0)
    const check = JSON.parse(stdout) as ModelCheckJson
    expect(check).toMatchObject({ images: 3, rejects: 0, device: 'cpu', transform: 'resize(256,256,bilinear)' })
    const [fp32, int8, bf16] = check.precisions
    expect([fp32, int8, bf16].map((entry) => entry!.precision)).toEqual(['fp32', 'int8', 'bf16-simulated'])
    expect(fp32!.errors.map(({ output }) => output)).toEqual(['latents', 'clip', 'cls', 'patches'])
    for (const { meanRelative, cosine } of fp32!.errors)
      expect([meanRelative, cosine]).toEqual([0, expect.closeTo(1, 9)])
    for (const { errors, psnrChange } of [int8!, bf16!]) {
      for (const { meanRelative, cosine } of errors) {
        expect(meanRelative).toBeGreaterThan(1e-5)
        expect(meanRelative).toBeLessThan(0.03)
        expect(cosine).toBeGreaterThan(0.999)
      }
      expect(Math.abs(psnrChange!)).toBeLessThan(0.1)
    }
    expect(int8!.imagesPerSecond).toBeGreaterThan(0)
    expect(bf16!.imagesPerSecond).toBeNull()
  })

  it('prints a table that fits into 80 columns, with what it had to leave out', async () => {
    const folder = tempDir()
    cpSync(path.join(repoRoot, 'fixtures', 'images', 'things'), folder, { recursive: true })
    writeFileSync(path.join(folder, '0-broken.jpg'), 'no image')
    const { code, stdout } = await runCli(['model', 'check', 'nano', folder, '--limit', '1'])
    expect(code).toBe(0)
    expect(stdout).toContain('1 image (1 more cannot be decoded)')
    for (const precision of ['fp32', 'int8', 'official bf16'])
      expect(stdout).toMatch(new RegExp(`^${precision} .*latents +\\d`, 'm'))
    expect(stdout).toMatch(/^int8 +latents +0\.\d{3} % +0\.9\d{5} +\d+\.\d\d dB +-?\d\.\d{3} +\d/m)
    expect(stdout).not.toMatch(/-0\.000/)
    for (const line of stdout.split('\n')) expect(line.length, line).toBeLessThanOrEqual(80)
  })
})

describe('vtp model export', () => {
  it('writes graphs that ONNX Runtime opens where they lie', async () => {
    const out = path.join(tempDir(), 'graphs')
    const { code, stdout } = await runCli([
      'model',
      'export',
      'nano',
      '--out',
      out,
      '--image-size',
      '64',
      '--layers',
      '1',
      '--json',
    ])
    expect(code).toBe(0)
    const result = JSON.parse(stdout) as ModelExportJson
    expect(result).toEqual(JSON.parse(readFileSync(path.join(out, 'export.json'), 'utf8')))
    const encoder = await ort.InferenceSession.create(path.join(out, 'encoder.onnx'))
    expect(encoder.outputNames).toEqual(['latents', 'clip', 'cls', 'patches', 'layer_5_cls', 'layer_5_patches'])
    const pixels = new ort.Tensor('uint8', new Uint8Array(2 * 64 * 64 * 3).fill(99), [2, 64, 64, 3])
    const { latents } = await encoder.run({ pixels })
    expect(latents!.dims).toEqual([2, 64, 4, 4])
    const decoder = await ort.InferenceSession.create(path.join(out, 'decoder.onnx'))
    expect((await decoder.run({ latents: latents! })).pixels!.dims).toEqual([2, 64, 64, 3])
    expect(existsSync(path.join(out, 'text.onnx'))).toBe(true)
  })

  it('refuses layers, outputs and towers that the model has not', async () => {
    const out = tempDir()
    for (const [flags, text] of [
      [['--layers', '6,'], 'has no block 6'],
      [['--layers', '7'], 'has no block -1'],
      [['--outputs', 'latnts'], 'did you mean latents?'],
      [['--towers', 'encoder,speech'], 'unknown tower "speech"'],
    ] as const) {
      const { code, stderr } = await runCli(['model', 'export', 'nano', '--out', out, ...flags])
      expect(code).toBe(2)
      expect(stderr).toContain(text)
    }
    expect(readdirSync(out)).toEqual([])
  })
})

describe('vtp model pull', () => {
  const files = {
    'config.json': { bytes: readFileSync(path.join(nano, 'config.json')) },
    'model.safetensors': { bytes: readFileSync(path.join(nano, 'model.safetensors')), lfs: true },
  }

  it('downloads a model, which then works by its id with the hub switched off', async () => {
    const hub = await startHub({ name: 'org/nano', files, revisions: { main: COMMIT_A }, token: 'hf_secret' })
    hub.faults.push({ kind: 'cut', afterBytes: 10_000_000 })
    const env = { HF_HOME: tempDir(), HF_ENDPOINT: hub.endpoint, HF_TOKEN: 'hf_secret' }
    const pull = await runCli(['model', 'pull', 'org/nano', '--json'], { env })
    expect(pull.code).toBe(0)
    const result = JSON.parse(pull.stdout) as ModelPullJson
    expect(result.commit).toBe(COMMIT_A)
    expect(result.files.map(({ name }) => name)).toEqual(['config.json', 'model.safetensors'])
    expect(pull.stderr).toMatch(/resuming at \d+ of \d+ bytes/)
    expect(pull.stderr).not.toContain('hf_secret')
    await hub.stop()
    const info = await runCli(['model', 'info', 'org/nano', '--json'], { env: { ...env, HF_HUB_OFFLINE: '1' } })
    const bundled = await runCli(['model', 'info', 'nano', '--json'])
    const { digest } = JSON.parse(bundled.stdout) as ModelInfoJson
    expect(JSON.parse(info.stdout)).toMatchObject({ name: 'org/nano', digest })
  })

  it('ends with exit code 3, the address and what to try when there is no network', async () => {
    const env = { HF_HOME: tempDir(), HF_ENDPOINT: 'http://127.0.0.1:9' }
    const { code, stderr } = await runCli(['model', 'pull', 'org/nano'], { env })
    expect(code).toBe(3)
    expect(stderr).toContain('http://127.0.0.1:9/api/models/org/nano')
    expect(stderr).toMatch(/^Try: /m)
  })
})

describe('vtp doctor', () => {
  it('reports what will be used, as text and as one object', async () => {
    const { code, stdout } = await runCli(['doctor', '--json'], { env: { HF_TOKEN: 'hf_secret' } })
    expect(code).toBe(0)
    const report = JSON.parse(stdout) as DoctorJson
    expect(report).toMatchObject({ ok: true, node: process.version, device: expect.stringMatching(/^(cpu|cuda)$/) })
    expect(report.threads.pool).toBeGreaterThanOrEqual(4)
    expect(report.hub.token).toBe(true)
    expect(stdout).not.toContain('hf_secret')
    const text = await runCli(['doctor'])
    expect(text.stdout).toMatch(/onnxruntime +1\./)
    expect(text.stdout).toContain('This machine is ready.')
  })

  it('makes no folders, and fails when the cache cannot be written', async () => {
    const dir = tempDir()
    const missing = path.join(dir, 'not', 'there')
    const fine = await runCli(['doctor', '--json'], { env: { VTP_CACHE: missing } })
    expect(fine.code).toBe(0)
    expect(existsSync(missing)).toBe(false)
    const broken = await runCli(['doctor'], { env: { VTP_CACHE: path.join(repoRoot, 'package.json', 'cache') } })
    expect(broken.code).toBe(1)
    expect(broken.stdout).toMatch(/Error: The cache .* cannot be written/)
  })
})
