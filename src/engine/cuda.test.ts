import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { type CudaProbes, inspectCuda, PROVIDER_LIBRARIES } from './cuda.js'

const LIBRARIES = [
  'libcudart.so.12',
  'libcublas.so.12',
  'libcublasLt.so.12',
  'libcufft.so.11',
  'libcurand.so.10',
  'libcudnn.so.9',
]

/** A machine that has everything. */
function machine(changes: Partial<CudaProbes> = {}): CudaProbes {
  return {
    platform: 'linux',
    arch: 'x64',
    nvidiaSmi: async () => 'NVIDIA H100 80GB HBM3, 81559, 80994, 550.54.15\n',
    driverFile: () => undefined,
    gpuCount: () => 1,
    runtimeFolder: '/ort/bin/napi-v6/linux/x64',
    fileExists: () => true,
    neededLibraries: () => [...LIBRARIES.slice(0, 5), 'libc.so.6'],
    libraryFolders: () => ['/usr/lib64'],
    listFolder: () => [],
    loaderCache: async () => LIBRARIES.map((name) => `\t${name} (libc6,x86-64) => /usr/lib/${name}`).join('\n'),
    ...changes,
  }
}

describe('inspectCuda', () => {
  it('finds a complete machine usable and names its GPU', async () => {
    const report = await inspectCuda(machine())
    expect(report).toMatchObject({ usable: true, missing: [], driver: '550.54.15' })
    expect(report.gpus).toEqual([
      { name: 'NVIDIA H100 80GB HBM3', memoryBytes: 81559 * 2 ** 20, freeBytes: 80994 * 2 ** 20 },
    ])
  })

  it('takes libraries from the folders of LD_LIBRARY_PATH too', async () => {
    const probes = machine({
      loaderCache: async () => '',
      libraryFolders: () => ['/venv/lib'],
      listFolder: () => LIBRARIES,
    })
    expect((await inspectCuda(probes)).usable).toBe(true)
  })

  it('names the missing provider library and the command that installs it', async () => {
    const absent = path.join('/ort/bin/napi-v6/linux/x64', PROVIDER_LIBRARIES[0]!)
    const report = await inspectCuda(machine({ fileExists: (file) => file !== absent }))
    expect(report.usable).toBe(false)
    expect(report.missing).toHaveLength(1)
    expect(report.missing[0]!.what).toContain('libonnxruntime_providers_cuda.so in /ort/bin')
    expect(report.missing[0]!.fix).toContain('ONNXRUNTIME_NODE_INSTALL=cuda12 node "/ort/script/install.js"')
  })

  it('names exactly the CUDA libraries that are missing', async () => {
    const report = await inspectCuda(
      machine({
        loaderCache: async () => '\tlibcudart.so.12 => x\n\tlibcublas.so.12.1 => x\n\tlibcublasLt.so.12 => x\n',
      }),
    )
    expect(report.missing.map(({ what }) => what)).toEqual([
      'CUDA 12 libraries (libcublas.so.12, libcufft.so.11, libcurand.so.10)',
      'cuDNN 9 (libcudnn.so.9)',
    ])
    expect(report.missing[0]!.fix).toContain('nvidia-cublas-cu12 nvidia-cufft-cu12 nvidia-curand-cu12')
  })

  it('falls back to the kernel module for the driver, and says when there is none', async () => {
    const driverFile = () => 'NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar 5 22:23:56 UTC 2024'
    expect(await inspectCuda(machine({ nvidiaSmi: async () => undefined, driverFile }))).toMatchObject({
      driver: '550.54.15',
    })
    const without = await inspectCuda(machine({ nvidiaSmi: async () => undefined }))
    expect(without.missing[0]!.what).toContain('NVIDIA driver')
  })

  it('says that a driver is too old for CUDA 12, or shows no GPU to this process', async () => {
    const smi = (version: string) => async () => `Tesla T4, 15360, 15000, ${version}\n`
    const old = await inspectCuda(machine({ nvidiaSmi: smi('470.256.02') }))
    expect(old.missing.map(({ what }) => what)).toEqual([
      'a driver for CUDA 12 (525.60.13 or newer; this one is 470.256.02)',
    ])
    expect((await inspectCuda(machine({ nvidiaSmi: smi('525.60.13') }))).usable).toBe(true)
    const hidden = await inspectCuda(machine({ gpuCount: () => 0 }))
    expect(hidden.usable).toBe(false)
    expect(hidden.missing[0]!.fix).toContain('CUDA_VISIBLE_DEVICES')
  })

  it('takes a provider for CUDA 13, and asks for what that one needs', async () => {
    const files = ['libcudart.so.13', 'libcublas.so.13', 'libcublasLt.so.13', 'libcufft.so.12', 'libcurand.so.10']
    const probes = (version: string, names: string[]) =>
      machine({
        nvidiaSmi: async () => `NVIDIA L4, 23034, 22500, ${version}\n`,
        neededLibraries: () => files,
        loaderCache: async () => names.map((name) => `\t${name} => /usr/lib/${name}`).join('\n'),
      })
    expect(await inspectCuda(probes('580.95.05', [...files, 'libcudnn.so.9']))).toMatchObject({
      usable: true,
      cudaMajor: 13,
    })
    const report = await inspectCuda(probes('550.54.15', ['libcudart.so.12', 'libcudnn.so.9']))
    expect(report.missing.map(({ what }) => what)).toEqual([
      'a driver for CUDA 13 (580.65.06 or newer; this one is 550.54.15)',
      `CUDA 13 libraries (${files.join(', ')})`,
    ])
    const unknown = await inspectCuda(machine({ neededLibraries: () => ['libcudart.so.14'] }))
    expect(unknown.missing.map(({ what }) => what).join()).toMatch(/CUDA 12 or 13 .* for CUDA 14/)
  })

  it('does not ask for a library that the provider is not linked to', async () => {
    const without = LIBRARIES.filter((name) => name !== 'libcufft.so.11')
    const loaderCache = async () => without.map((name) => `\t${name} => /usr/lib/${name}`).join('\n')
    const report = await inspectCuda(machine({ loaderCache, neededLibraries: () => without.slice(0, 4) }))
    expect(report).toMatchObject({ usable: true, missing: [] })
  })

  it('offers nothing on platforms without CUDA', async () => {
    const report = await inspectCuda(machine({ platform: 'darwin', arch: 'arm64' }))
    expect(report.missing[0]!.what).toContain('darwin-arm64')
  })
})
