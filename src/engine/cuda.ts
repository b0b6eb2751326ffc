/**
 * Whether ONNX Runtime can use an NVIDIA GPU on this machine, and if not, exactly which piece is missing
 * and what installs it. The pieces (ONNX Runtime 1.30): the driver, ONNX Runtime's provider libraries beside its
 * binding (the npm package leaves them out), the runtime libraries of the CUDA that the provider was built for (12 or
 * 13), cuDNN 9.
 */
import { execFile, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { promisify } from 'node:util'
import { type MissingPiece, missingLibraries, missingProvider } from './cuda-pieces.js'
import { CUDA_VERSIONS, type CudaVersion, cudaMajor } from './cuda-versions.js'
import { neededLibraries } from './elf.js'
import { probeProvider } from './provider-probe.js'

export interface Gpu {
  name: string
  memoryBytes: number | null
  /** Free now. */
  freeBytes: number | null
}

export interface CudaReport {
  /** All pieces are there. */
  usable: boolean
  driver: string | null
  gpus: Gpu[]
  /** The folder of ONNX Runtime's libraries. */
  runtimeFolder: string
  /** The major version of CUDA that the provider there was built for; null without a provider. */
  cudaMajor: number | null
  missing: MissingPiece[]
}

/** What is looked at; tests bring a made machine. */
export interface CudaProbes {
  platform: string
  arch: string
  /** Output of nvidia-smi, or undefined when it cannot be run. */
  nvidiaSmi: () => Promise<string | undefined>
  /** Text of /proc/driver/nvidia/version. */
  driverFile: () => string | undefined
  /** GPUs that the driver shows to CUDA. */
  gpuCount: () => number
  runtimeFolder: string
  fileExists: (file: string) => boolean
  /** Libraries that a library is linked to. */
  neededLibraries: (file: string) => string[]
  /** Folders in which the loader finds libraries. */
  libraryFolders: () => string[]
  listFolder: (folder: string) => string[]
  /** File names in the loader's cache (`ldconfig -p`). */
  loaderCache: () => Promise<string>
}

export const PROVIDER_LIBRARIES = ['libonnxruntime_providers_cuda.so', 'libonnxruntime_providers_shared.so']

/** The folder of the ONNX Runtime libraries for this machine. */
export function onnxRuntimeFolder(platform: string = process.platform, arch: string = process.arch): string {
  const require = createRequire(import.meta.url)
  return path.join(path.dirname(require.resolve('onnxruntime-node/package.json')), 'bin', 'napi-v6', platform, arch)
}

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

async function run(file: string, args: string[]): Promise<string | undefined> {
  return promisify(execFile)(file, args, { timeout: 10_000 }).then(
    ({ stdout }) => stdout,
    () => undefined,
  )
}

/** Fields of every GPU, one line each, as nvidia-smi names them; undefined when it cannot be run. Memory is in MiB. */
export function queryNvidia(fields: string): Promise<string | undefined> {
  return run('nvidia-smi', [`--query-gpu=${fields}`, '--format=csv,noheader,nounits'])
}

/** GPUs by `nvidia-smi -L`, where the driver has no files of its own (Windows' subsystem for Linux). */
function listGpus(): number {
  const { stdout } = spawnSync('nvidia-smi', ['-L'], { encoding: 'utf8', timeout: 10_000 })
  return (stdout ?? '').split('\n').filter((line) => /^GPU \d+:/.test(line)).length
}

/** NVIDIA GPUs that the driver shows, within CUDA_VISIBLE_DEVICES; ids count from 0 as CUDA does. */
export function countGpus(
  environment: Record<string, string | undefined> = process.env,
  folder = '/proc/driver/nvidia/gpus',
  list: () => number = listGpus,
): number {
  const present = existsSync(folder) ? listFolder(folder).length : list()
  const visible = environment.CUDA_VISIBLE_DEVICES
  if (visible === undefined) return present
  return Math.min(present, visible.split(',').filter((id) => id.trim() !== '' && id.trim() !== '-1').length)
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function thisMachine(): CudaProbes {
  return {
    platform: process.platform,
    arch: process.arch,
    nvidiaSmi: () => queryNvidia('name,memory.total,memory.free,driver_version'),
    driverFile: () => readText('/proc/driver/nvidia/version'),
    gpuCount: countGpus,
    runtimeFolder: onnxRuntimeFolder(),
    fileExists: existsSync,
    neededLibraries,
    libraryFolders: () => [
      ...(process.env.LD_LIBRARY_PATH ?? '').split(':').filter(Boolean),
      onnxRuntimeFolder(),
      '/usr/lib/x86_64-linux-gnu',
      '/usr/lib64',
      '/usr/lib',
    ],
    listFolder,
    loaderCache: async () => (await run('ldconfig', ['-p'])) ?? (await run('/sbin/ldconfig', ['-p'])) ?? '',
  }
}

/** Whether cuDNN lies where the loader looks. At once, for `--device auto`; asked only where a GPU and the provider are. */
export function hasCudnn(
  folders: readonly string[] = thisMachine().libraryFolders(),
  cache: () => string = () => spawnSync('/sbin/ldconfig', ['-p'], { encoding: 'utf8', timeout: 10_000 }).stdout ?? '',
): boolean {
  const names = CUDA_VERSIONS.map(({ cudnn }) => cudnn.file)
  const inFolder = (folder: string): boolean => names.some((name) => existsSync(path.join(folder, name)))
  return folders.some(inFolder) || names.some((name) => cache().includes(name))
}

/**
 * Why CUDA cannot compute here although a GPU and the provider are there, in words; null where it does. A child process
 * loads the provider and computes, so that libraries that are missing, a driver that is too old and a GPU that is
 * broken all show. Takes seconds.
 */
export function cudaProblem(): string | null {
  return hasCudnn() ? probeProvider('cuda:0').problem : 'cuDNN 9 is missing'
}

/** Looks for every piece; loads nothing and changes nothing. */
export async function inspectCuda(probes: CudaProbes = thisMachine()): Promise<CudaReport> {
  const { platform, arch, runtimeFolder } = probes
  const report: CudaReport = { usable: false, driver: null, gpus: [], runtimeFolder, cudaMajor: null, missing: [] }
  if (platform !== 'linux' || arch !== 'x64') {
    const fix = 'use a Linux x64 machine with an NVIDIA GPU; elsewhere the CPU is used'
    report.missing.push({ what: `CUDA in ONNX Runtime for ${platform}-${arch}`, fix })
    return report
  }
  const cache = await probes.loaderCache()
  const seen = new Set(probes.libraryFolders().flatMap(probes.listFolder))
  const isThere = (file: string): boolean => seen.has(file) || new RegExp(`(^|\\s|/)${file}(\\s|$)`, 'm').test(cache)

  const absent = PROVIDER_LIBRARIES.filter((name) => !probes.fileExists(path.join(runtimeFolder, name)))
  const needed = absent.length > 0 ? [] : probes.neededLibraries(path.join(runtimeFolder, PROVIDER_LIBRARIES[0]!))
  report.cudaMajor = cudaMajor(needed)
  // A provider that does not say is taken for that of the libraries that are there, or of CUDA 12.
  const major = report.cudaMajor ?? (isThere('libcudart.so.13') ? 13 : 12)
  const version = CUDA_VERSIONS.find((known) => known.major === major)
  await inspectDriver(probes, report, version)
  if (absent.length > 0) report.missing.push(missingProvider(absent, runtimeFolder))
  if (version) report.missing.push(...missingLibraries(version, needed, isThere))
  else {
    const known = CUDA_VERSIONS.map((one) => one.major).join(' or ')
    const what = `a provider for CUDA ${known} (the one in ${runtimeFolder} is for CUDA ${major})`
    report.missing.push({ what, fix: 'install the provider of the same version as onnxruntime-node' })
  }
  report.usable = report.missing.length === 0
  return report
}

async function inspectDriver(probes: CudaProbes, report: CudaReport, version?: CudaVersion): Promise<void> {
  for (const line of ((await probes.nvidiaSmi()) ?? '').split('\n')) {
    const [name, memory, free, driver] = line.split(',').map((cell) => cell.trim())
    if (!name || !driver) continue
    report.gpus.push({ name, memoryBytes: mebibytes(memory), freeBytes: mebibytes(free) })
    report.driver = driver
  }
  report.driver ??= /Kernel Module\D*([\d.]+)/.exec(probes.driverFile() ?? '')?.[1] ?? null
  if (report.driver === null) {
    const fix = 'install the NVIDIA driver; in a container start it with GPU access (docker run --gpus all)'
    report.missing.push({ what: 'an NVIDIA driver (neither nvidia-smi nor /proc/driver/nvidia answers)', fix })
  } else if (version && isOlder(report.driver, version.oldestDriver)) {
    const { major, oldestDriver, driverPackage } = version
    const fix = `install a newer NVIDIA driver, e.g. \`apt-get install ${driverPackage}\` on Ubuntu; a container uses that of its host`
    report.missing.push({
      what: `a driver for CUDA ${major} (${oldestDriver} or newer; this one is ${report.driver})`,
      fix,
    })
  } else if (probes.gpuCount() === 0) {
    const fix = 'look at CUDA_VISIBLE_DEVICES; start a container with GPU access (docker run --gpus all)'
    report.missing.push({ what: `a GPU: the driver ${report.driver} shows none to this process`, fix })
  }
}

/** Whether one version number in parts is below another. */
function isOlder(version: string, than: string): boolean {
  const [a, b] = [version, than].map((text) => text.split('.').map(Number))
  const at = b!.findIndex((part, i) => (a![i] ?? 0) !== part)
  return at >= 0 && (a![at] ?? 0) < b![at]!
}

function mebibytes(text: string | undefined): number | null {
  return /^\d+$/.test(text ?? '') ? Number(text) * 2 ** 20 : null
}
