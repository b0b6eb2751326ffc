import { afterEach, describe, expect, it } from 'vitest'
import { chooseDevice, type DeviceProbes } from './choose-device.js'
import { countGpus, hasCudnn } from './cuda.js'
import { providerOption } from './providers.js'

const machine = (gpus: number, hasCuda: boolean, bundled = ['cpu'], problem: string | null = null): DeviceProbes => ({
  bundled: () => bundled,
  hasCuda: () => hasCuda,
  cudaProblem: () => problem,
  gpus: () => gpus,
  webgpu: () => null,
  cores: () => 4,
})
const choose = (device: string, probes: DeviceProbes, precision = 'auto', requireGpu = false) =>
  chooseDevice({ device, precision, requireGpu, autoWebGpu: true }, probes)

describe('auto', () => {
  it('is fp32 on a CPU and never int8', () => {
    expect(choose('auto', machine(0, false))).toMatchObject({ kind: 'cpu', precision: 'fp32', lanes: [['cpu']] })
    expect(choose('cpu', machine(2, true))).toMatchObject({ kind: 'cpu', precision: 'fp32' })
  })
  it('is fp16 on every GPU, two sessions each, where GPU and provider are there', () => {
    const device = choose('auto', machine(2, true))
    expect(device).toMatchObject({ kind: 'cuda', precision: 'fp16', summary: 'cuda:0, cuda:1, fp16' })
    expect(device.lanes.map(([first]) => first)).toEqual(['cuda:0', 'cuda:0', 'cuda:1', 'cuda:1'])
    expect(device.lanes.every((lane) => lane.at(-1) === 'cpu')).toBe(true)
  })
  it('stays on the CPU while the provider or the GPU is missing', () => {
    expect(choose('auto', machine(1, false)).kind).toBe('cpu')
    expect(choose('auto', machine(0, true)).kind).toBe('cpu')
  })
})

describe('a GPU without cuDNN', () => {
  const lacking = machine(1, true, ['cpu'], 'cuDNN 9 is missing')
  it('is left out by auto, which says so', () => {
    const device = choose('auto', lacking)
    expect(device).toMatchObject({ kind: 'cpu', precision: 'fp32', lanes: [['cpu']] })
    expect(device.summary).toContain('cuDNN 9 is missing')
  })
  it('is taken where it is asked for by name, so that the reason is an error', () => {
    expect(choose('cuda', lacking).kind).toBe('cuda')
    expect(choose('auto', lacking, 'auto', true).kind).toBe('cuda')
  })
  it('cuDNN is found by the loader’s cache', () => {
    expect(hasCudnn([], () => '\tlibcudnn.so.9 (libc6,x86-64) => /usr/lib/libcudnn.so.9\n')).toBe(true)
    expect(hasCudnn(['/nonexistent'], () => '')).toBe(false)
  })
})

describe('a WebGPU adapter that is a real GPU and computes right', () => {
  const before = process.env.VK_LOADER_DRIVERS_DISABLE
  afterEach(() => {
    if (before === undefined) delete process.env.VK_LOADER_DRIVERS_DISABLE
    else process.env.VK_LOADER_DRIVERS_DISABLE = before
  })
  const radeon = (fp16: boolean, changes: Partial<DeviceProbes> = {}): DeviceProbes => ({
    ...machine(0, false, ['cpu', 'webgpu']),
    webgpu: () => ({ usable: true, fp16, problem: null, adapter: { name: 'AMD 1002:744c (amdgpu)', kind: 'gpu' } }),
    ...changes,
  })

  it('is taken by auto where CUDA is not, and named', () => {
    expect(choose('auto', radeon(true))).toMatchObject({
      kind: 'webgpu',
      lanes: [['webgpu', 'cpu']],
      summary: 'webgpu (AMD 1002:744c (amdgpu)), fp16',
    })
    expect(process.env.VK_LOADER_DRIVERS_DISABLE).toContain('*swiftshader*')
    expect(choose('auto', radeon(true, { hasCuda: () => true, gpus: () => 1 })).kind).toBe('cuda')
    expect(choose('auto', radeon(true), 'auto', true).kind).toBe('webgpu')
  })
  it('computes in fp32 where it has no halves', () => {
    expect(choose('auto', radeon(false))).toMatchObject({ kind: 'webgpu', precision: 'fp32' })
    expect(choose('auto', radeon(true), 'fp32')).toMatchObject({ kind: 'webgpu', precision: 'fp32' })
  })
  it('is taken where CUDA does not compute, and the reason is said', () => {
    const changes = { hasCuda: () => true, gpus: () => 1, cudaProblem: () => 'cuDNN 9 is missing' }
    const device = choose('auto', radeon(true, changes))
    expect(device.kind).toBe('webgpu')
    expect(device.summary).toContain('not CUDA: cuDNN 9 is missing')
  })
  it('is left where it does not have the precision, and for networks that were not compared on it', () => {
    expect(choose('auto', radeon(true), 'int8')).toMatchObject({ kind: 'cpu', precision: 'int8' })
    expect(chooseDevice({ device: 'auto', precision: 'fp32', requireGpu: false }, radeon(true)).kind).toBe('cpu')
  })
})

describe('a GPU that is asked for', () => {
  it.each([
    ['cuda', machine(1, false), 'no CUDA provider'],
    ['cuda', machine(0, true), 'no NVIDIA GPU'],
    ['cuda:2', machine(2, true), 'no cuda:2'],
    ['webgpu', machine(0, false), 'no webgpu provider'],
  ])('%s is refused with the reason when it cannot be used', (device, probes, reason) => {
    expect(() => choose(device, probes)).toThrow(reason)
  })
  it('is refused by --require-gpu on a machine without one', () => {
    expect(() => choose('auto', machine(0, false), 'auto', true)).toThrow('no CUDA provider')
    expect(() => choose('cpu', machine(1, true), 'auto', true)).toThrow('--device cpu')
  })
  it('may be one of several', () => {
    expect(choose('cuda:1', machine(2, true)).lanes).toEqual([
      ['cuda:1', 'cpu'],
      ['cuda:1', 'cpu'],
    ])
    expect(choose('webgpu', machine(0, false, ['cpu', 'webgpu'])).lanes).toEqual([['webgpu', 'cpu']])
  })
})

it('precisions are offered where they make sense', () => {
  expect(choose('cpu', machine(0, false), 'int8').precision).toBe('int8')
  expect(choose('cuda', machine(1, true), 'bf16').precision).toBe('bf16')
  expect(choose('cuda', machine(1, true), 'fp32').precision).toBe('fp32')
  expect(() => choose('cpu', machine(0, false), 'fp16')).toThrow('not offered on the device cpu')
  expect(() => choose('cuda', machine(1, true), 'int8')).toThrow('not offered on the device cuda')
  expect(() => choose('cpu', machine(0, false), 'fp7')).toThrow('not known')
  expect(() => choose('gpu', machine(0, false))).toThrow('--device gpu is not known')
})

it('ONNX Runtime gets the number of the GPU apart from the name', () => {
  expect(providerOption('cuda:1')).toEqual({ name: 'cuda', deviceId: 1 })
  expect(providerOption('cpu')).toBe('cpu')
})

it('without a driver there are no GPUs; nvidia-smi is asked where the driver has no files', () => {
  expect(countGpus({}, '/nonexistent', () => 0)).toBe(0)
  expect(countGpus({}, '/nonexistent', () => 3)).toBe(3)
  expect(countGpus({ CUDA_VISIBLE_DEVICES: '2' }, '/nonexistent', () => 3)).toBe(1)
  expect(countGpus({ CUDA_VISIBLE_DEVICES: '' }, '/')).toBe(0)
})
