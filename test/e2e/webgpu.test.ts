/**
 * The WebGPU provider without a GPU: on SwiftShader, a Vulkan driver in software that comes with Chromium. One small
 * model of the reference data, since every shader is compiled on the way.
 */
import path from 'node:path'
import { expect, it } from 'vitest'
import type { DoctorJson } from '../../src/cli/run/doctor.js'
import { relativeError } from '../../src/engine/attention-check.js'
import { openShard } from '../../src/io/shards/index.js'
import { goldenPath } from '../golden.js'
import { repoRoot, runCli, sharedTempDir } from '../support/cli.js'
import { softwareGpu } from '../support/software-gpu.js'

const OUTPUTS = ['latents', 'clip', 'cls', 'patches']
const dir = sharedTempDir()

async function encodeOn(device: string, env?: Record<string, string>): Promise<Record<string, Float32Array>> {
  const out = path.join(dir, device)
  const image = path.join(repoRoot, 'fixtures', 'images', 'things')
  const { code, stderr } = await runCli(
    ['encode', image, '--model', goldenPath('models', 'vtp_h_patch8_odd'), '--out', out, '--device', device].concat([
      '--precision',
      'fp32',
      '--dtype',
      'float32',
      '--batch-size',
      '2',
      '--outputs',
      OUTPUTS.join(),
    ]),
    { env, timeoutMs: 500_000 },
  )
  expect(code, stderr).toBe(0)
  const shard = await openShard(path.join(out, 'part-00000.arrow'))
  try {
    for await (const { tensors } of shard.read(OUTPUTS, 64)) return tensors as Record<string, Float32Array>
    throw new Error('no rows')
  } finally {
    await shard.close()
  }
}

it('--device webgpu gives the numbers of the CPU, and doctor says what the adapter has', async () => {
  const driver = softwareGpu(dir)
  const [found, expected] = [await encodeOn('webgpu', driver), await encodeOn('cpu')]
  for (const name of OUTPUTS) expect(relativeError(expected[name]!, found[name]!), name).toBeLessThan(1e-3)

  const { stdout } = await runCli(['doctor', '--json'], { env: driver })
  const { webgpu } = JSON.parse(stdout) as DoctorJson
  expect(webgpu).toEqual({
    usable: true,
    fp16: false,
    problem: null,
    adapter: { name: 'SwiftShader', kind: 'software' },
  })
  const without = await runCli(['doctor'], { env: { VK_ICD_FILENAMES: '/nowhere', VK_DRIVER_FILES: '/nowhere' } })
  expect(without.stdout).toMatch(/^webgpu +not usable: .*adapter/m)
}, 600_000)
