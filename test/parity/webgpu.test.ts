/**
 * WebGPU against the official code, on a Vulkan driver in software: encoders and decoders of all of VTP's reference
 * cases and of one case of the other families each, in fp32, within the tolerance that the CPU has to keep. All cases with all networks take minutes: scripts/gpu/parity.ts, results in docs/notebook/performance.md.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, it } from 'vitest'
import { goldenPath } from '../golden.js'
import { repoRoot, sharedTempDir } from '../support/cli.js'
import type { ParityRow } from '../support/device-parity.js'
import { softwareGpu } from '../support/software-gpu.js'

const VTP = ['a_default256', 'b_mlp_ln_ls_qk', 'c_sw64_lnbf16_nobottleneck', 'd_sw32_embedcls224']
  .concat('e_sw128_noclip', 'f_norec_poolnone', 'g_fullvocab_bf16ckpt', 'h_patch8_odd')
  .map((name) => `vtp_${name}`)
/** One case of every family; of VA-VAE the one with a convolution that WebGPU's own kernel computes wrongly. */
const PEERS = [
  'clip_hf_gelu',
  'siglip_hf',
  'dinov2_hf_reg_swiglu',
  'mae_full',
  'rae_siglip2',
  'unitok_linear_query',
].concat('vavae_training_ckpt')
const WITHOUT_DECODER = ['vtp_f_norec_poolnone', 'clip_hf_gelu', 'siglip_hf', 'dinov2_hf_reg_swiglu', 'mae_full']

const dir = sharedTempDir()
let rows: (ParityRow & { within: boolean })[] = []
const attention: string[] = []

async function inSoftware(script: string, ...args: string[]): Promise<string> {
  // The driver is chosen by the loader when a process starts.
  const env = { ...process.env, ...softwareGpu(dir), VTP_CACHE: dir, VTP_GOLDEN: goldenPath() }
  const options = { cwd: repoRoot, env, maxBuffer: 2 ** 24, timeout: 580_000 }
  return promisify(execFile)(process.execPath, ['--import', 'tsx', script, ...args], options).then(
    ({ stdout }) => stdout,
    (error: Error & { stdout: string; stderr: string }) => {
      if (error.stdout === '') throw new Error(error.stderr)
      return error.stdout // Rows beyond tolerance: the tests name them.
    },
  )
}

beforeAll(async () => {
  const cases = [...VTP, ...PEERS]
  const out = await inSoftware('scripts/gpu/parity.ts', 'webgpu', ...cases, '--networks', 'encoder,decoder', '--json')
  rows = out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as (typeof rows)[number])
  for (const kernel of ['plain', 'fused'])
    attention.push((await inSoftware('test/support/check-attention.ts', 'webgpu', kernel)).trim())
}, 600_000)

describe('on WebGPU', () => {
  it.each([...VTP, ...PEERS])('every output of %s is within the tolerance of the reference data', (name) => {
    const own = rows.filter((row) => row.case === name)
    const networks = new Set(own.map(({ network }) => network))
    expect([...networks]).toEqual(WITHOUT_DECODER.includes(name) ? ['encoder'] : ['encoder', 'decoder'])
    expect(own.filter(({ within }) => !within)).toEqual([])
  })

  it('attention as sessions run it is right, and ONNX Runtime’s own kernel, which is not on this driver, is refused', () => {
    // An ONNX Runtime that has repaired it fails here, and needs no plain attention any more.
    const [plain, fused] = attention
    expect(plain).toBe('right')
    expect(fused).toMatch(/^webgpu computes wrong numbers on this machine: a small attention is [\d.]+ % off/)
  })
})
