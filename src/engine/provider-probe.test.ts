import { expect, it } from 'vitest'
import { chooseDevice } from './choose-device.js'
import { probeProvider } from './provider-probe.js'

it('a provider that computes is usable, with halves', () => {
  expect(probeProvider('cpu')).toMatchObject({ usable: true, fp16: true, problem: null })
}, 60_000)

it('a provider that cannot be loaded is not: `auto` says why and takes the CPU', () => {
  const report = probeProvider('cuda:0')
  expect(report).toMatchObject({ usable: false, fp16: null })
  expect(report.problem).toMatch(/\.so\S* cannot open shared object file/)
  const device = chooseDevice(
    { device: 'auto', precision: 'auto', requireGpu: false },
    {
      bundled: () => ['cpu'],
      hasCuda: () => true,
      cudaProblem: () => report.problem,
      gpus: () => 1,
      webgpu: () => null,
      cores: () => 2,
    },
  )
  expect(device).toMatchObject({ kind: 'cpu', precision: 'fp32', passedOver: `not CUDA: ${report.problem}` })
}, 60_000)

it('a driver that does not answer is left behind', () => {
  expect(probeProvider('cpu', { timeoutMs: 1 }).problem).toBe('the driver hangs (no answer in 0.001 s)')
})
