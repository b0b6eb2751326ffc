/** `vtp doctor`: what this machine will use and why, as an object and as text. */
import { constants } from 'node:fs'
import { access, readdir, stat, statfs } from 'node:fs/promises'
import path from 'node:path'
import type { CudaReport, Gpu } from '../../engine/cuda.js'
import { type CpuReport, type Int8Unit, inspectMachine, type MachineReport } from '../../engine/devices.js'
import { fitBatch, GPU_BATCH, LANES_PER_GPU } from '../../engine/gpu-memory.js'
import type { DeviceKind } from '../../engine/providers.js'
import { planThreads, type ThreadPlan } from '../../engine/threads.js'
import { EXIT, errorText } from '../../errors.js'
import { namedCacheDir } from '../../io/cache.js'
import { hubSettings } from '../../io/hub/settings.js'
import { blockActivations, networkLoad } from '../../model/memory.js'
import { vtpVersion } from '../../version.js'
import type { CommandContext } from '../base-command.js'
import { formatBytes, formatTable } from '../terminal/format.js'

export interface FolderReport {
  path: string
  /** Bytes of the files in it; 0 when it does not exist yet. */
  bytes: number
  freeBytes: number | null
  /** Why nothing can be written to it; null when it can. */
  problem: string | null
}

/** A finding that needs action. An `error` stops vtp from working, a `hint` makes it slower than it could be. */
export interface Finding {
  level: 'error' | 'hint'
  what: string
  fix: string
}

/** The stable object of `--json`. */
export interface DoctorJson extends MachineReport {
  vtp: string
  /** What `--device auto` uses. */
  device: string
  precision: string
  /** What it passes over, and why; null where nothing. */
  passedOver: string | null
  threads: ThreadPlan & { pool: number }
  cache: FolderReport
  hub: { endpoint: string; cache: FolderReport; token: boolean; offline: boolean }
  findings: Finding[]
  ok: boolean
}

/** Memory below which even the small models are tight. */
const LOW_MEMORY = 2e9

export async function runDoctor(context: CommandContext): Promise<DoctorJson> {
  const machine = await inspectMachine()
  const hub = await hubSettings()
  const [cache, hubCache] = await Promise.all([inspectFolder(namedCacheDir()), inspectFolder(hub.cacheDir)])
  const chosen: AutoDevice = machine.runtime.ok ? await autoDevice() : { kind: 'cpu', precision: 'fp32' }
  const findings = findProblems(machine, cache, hubCache)
  const report: DoctorJson = {
    vtp: vtpVersion(),
    ...machine,
    device: chosen.kind,
    precision: chosen.precision,
    passedOver: chosen.passedOver ?? null,
    threads: {
      ...planThreads({ cores: machine.cpu.cores, device: chosen.kind }),
      pool: Number(process.env.UV_THREADPOOL_SIZE ?? 4),
    },
    cache,
    hub: { endpoint: hub.endpoint, cache: hubCache, token: hub.token !== undefined, offline: hub.offline },
    findings,
    ok: !findings.some(({ level }) => level === 'error'),
  }
  context.terminal.print(describeDoctor(report))
  if (!report.ok) context.exitCode(EXIT.rejects)
  return report
}

/** Size, free space, and whether a file could be made there; makes nothing. */
export async function inspectFolder(folder: string): Promise<FolderReport> {
  let existing = path.resolve(folder)
  while (!(await stat(existing).catch(() => undefined)) && path.dirname(existing) !== existing)
    existing = path.dirname(existing)
  const info = await stat(existing).catch(() => undefined)
  const problem = info?.isDirectory()
    ? await access(existing, constants.W_OK).then(() => null, errorText)
    : `${existing} is not a folder`
  const disk = await statfs(existing).catch(() => undefined)
  return { path: folder, bytes: await folderBytes(folder), freeBytes: disk ? disk.bavail * disk.bsize : null, problem }
}

async function folderBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])
  let bytes = 0
  for (const entry of entries) {
    if (entry.isFile()) bytes += (await stat(path.join(entry.parentPath, entry.name)).catch(() => undefined))?.size ?? 0
  }
  return bytes
}

interface AutoDevice {
  kind: DeviceKind
  precision: string
  passedOver?: string
}

/** What `--device auto --precision auto` means here. Loaded late: it needs ONNX Runtime. */
async function autoDevice(): Promise<AutoDevice> {
  const { chooseDevice } = await import('../../engine/choose-device.js')
  return chooseDevice({ device: 'auto', precision: 'auto', requireGpu: false, autoWebGpu: true })
}

function findProblems(machine: MachineReport, cache: FolderReport, hubCache: FolderReport): Finding[] {
  const findings: Finding[] = []
  const reinstall = 'install again with `npm ci` on this machine (libraries differ between systems)'
  if (!machine.runtime.ok) {
    findings.push({ level: 'error', what: `ONNX Runtime cannot be loaded: ${machine.runtime.error}`, fix: reinstall })
  }
  if (!machine.images.ok)
    findings.push({ level: 'error', what: `sharp cannot be loaded: ${machine.images.error}`, fix: reinstall })
  if (cache.problem) {
    const fix = 'set VTP_CACHE to a folder that can be written'
    findings.push({ level: 'error', what: `The cache ${cache.path} cannot be written: ${cache.problem}`, fix })
  }
  if (hubCache.problem) {
    const fix = 'set HF_HOME to a folder that can be written, or give models as folders'
    findings.push({
      level: 'hint',
      what: `The hub's cache ${hubCache.path} cannot be written: ${hubCache.problem}`,
      fix,
    })
  }
  if (machine.memory.usableBytes < LOW_MEMORY) {
    const what = `Only ${formatBytes(machine.memory.usableBytes)} of memory may be used`
    findings.push({ level: 'hint', what, fix: 'use a small --batch-size and few --workers, or raise the limit' })
  }
  const { quota, allowed } = machine.cpu
  if (quota !== null && quota < allowed) {
    const what = `The control group allows ${quota} of ${allowed} cores`
    findings.push({ level: 'hint', what, fix: "raise the container's CPU limit if more cores are free" })
  }
  // Without any sign of a GPU its missing libraries are no finding.
  if (machine.cuda.driver !== null) {
    for (const piece of machine.cuda.missing)
      findings.push({ level: 'hint', what: `Missing for CUDA: ${piece.what}`, fix: piece.fix })
  }
  return findings
}

/** The report as people read it. */
export function describeDoctor(report: DoctorJson): string[] {
  const { cpu, memory, runtime, images, cuda, threads, hub } = report
  const cores = `${cpu.cores} of ${cpu.logical} cores${cpu.quota === null ? '' : ` (control group: ${cpu.quota})`}`
  const limit = memory.limitBytes === null ? '' : `, limited to ${formatBytes(memory.limitBytes)} by the control group`
  const folder = ({ path, bytes, freeBytes }: FolderReport): string =>
    `${path} (${formatBytes(bytes)}, ${freeBytes === null ? 'free space unknown' : `${formatBytes(freeBytes)} free`})`
  const rows = [
    ['vtp', `${report.vtp} on Node ${report.node} (${report.platform})`],
    [
      'will use',
      `${report.device}, ${report.precision}, ${cores}${report.passedOver === null ? '' : ` (${report.passedOver})`}`,
    ],
    ['threads', `${threads.encode} encode, ${threads.preprocess} preprocess, ${threads.pool} in the I/O pool`],
    ['processor', `${cpu.model}: ${cpu.features.join(' ') || 'no known vector extensions'}`],
    ['int8', describeInt8(cpu)],
    ['memory', `${formatBytes(memory.totalBytes)}, ${formatBytes(memory.freeBytes)} free${limit}`],
    ['onnxruntime', runtime.ok ? `${runtime.value.version}, providers: ${backendNames(report)}` : runtime.error],
    ['sharp', images.ok ? `${images.value.sharp} with libvips ${images.value.libvips}` : images.error],
    ['gpu', cuda.gpus.map(describeGpu).join(', ') || 'none found'],
    ['cuda', describeCuda(cuda)],
    // Where there is a driver, each is a finding, too, and stands below.
    ...(cuda.driver === null ? cuda.missing : []).flatMap(({ what, fix }) => [
      ['', `- ${what}`],
      ['', `  ${fix}`],
    ]),
    ['webgpu', describeWebGpu(report.webgpu)],
    ['cache', folder(report.cache)],
    ['hub', `${hub.endpoint}, ${hub.token ? 'with a token' : 'no token'}${hub.offline ? ', offline' : ''}`],
    ['hub cache', folder(hub.cache)],
  ]
  const findings = report.findings.flatMap(({ level, what, fix }) => [
    `${level === 'error' ? 'Error' : 'Hint'}: ${what}`,
    `Try: ${fix}`,
  ])
  const verdict = report.ok ? 'This machine is ready.' : 'This machine is not ready: see the errors above.'
  return [...formatTable(rows), '', ...findings, ...(findings.length > 0 ? [''] : []), verdict]
}

/** VTP-L's encoder, the largest published shape, for images of 256². */
const LARGE = {
  weights: 304_000_000,
  activations: blockActivations({ tokens: 257, dim: 1024, hidden: 2736 }),
  image: { height: 256, width: 256 },
}

function describeGpu({ name, memoryBytes, freeBytes }: Gpu): string {
  if (memoryBytes === null || freeBytes === null) return name
  const rows = fitBatch(GPU_BATCH, freeBytes, LANES_PER_GPU, networkLoad(LARGE, 'fp16'))
  return `${name}: ${formatBytes(freeBytes)} of ${formatBytes(memoryBytes)} free, batches of ${rows} for VTP-L at 256²`
}

function describeCuda({ usable, driver, cudaMajor, missing }: CudaReport): string {
  const provider = cudaMajor === null ? '' : `provider for CUDA ${cudaMajor}`
  if (!usable) return `not usable: ${missing.length} missing${provider && ` (${provider})`}`
  return `ready (${[`driver ${driver}`, provider].filter(Boolean).join(', ')})`
}

function describeWebGpu(webgpu: DoctorJson['webgpu']): string {
  if (webgpu === null) return 'not in this build of ONNX Runtime'
  const { usable, fp16, problem, adapter } = webgpu
  const name = adapter?.name ?? 'an adapter whose name is not known'
  const halves = fp16 ? 'fp16' : 'no fp16'
  if (!usable) return `not usable: ${problem}${adapter ? ` (${name}, ${halves})` : ''}`
  const what = adapter?.kind === 'software' ? `${name}, a driver in software` : name
  return `ready: ${what}, ${halves}: --device webgpu${fp16 ? '' : ' --precision fp32'}`
}

/** Ratios are those of docs/performance.md. */
const INT8_SPEED: Record<Int8Unit, string> = {
  matrix: 'AMX: --precision int8 is two to three times as fast as fp32, or more (`vtp model check` measures it)',
  dot: 'VNNI: --precision int8 is two to three times as fast as fp32',
  none: 'neither VNNI nor AMX: --precision int8 is about 1.3 times as fast as fp32',
}

function describeInt8({ int8 }: Pick<CpuReport, 'int8'>): string {
  return int8 === null ? 'not known on this system: `vtp model check` measures it' : INT8_SPEED[int8]
}

function backendNames({ runtime, cuda }: DoctorJson): string {
  if (!runtime.ok) return ''
  return runtime.value.backends
    .map(({ name, bundled }) => (bundled || (name === 'cuda' && cuda.usable) ? name : `${name} (not installed)`))
    .join(', ')
}
