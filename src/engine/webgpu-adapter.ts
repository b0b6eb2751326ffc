/**
 * Which adapter WebGPU computes on. ONNX Runtime's binding does not say, so it is told from what the process holds:
 * on Linux from the Vulkan drivers that it has loaded and the devices that it has opened, on a Mac from the system's
 * list of chips. A driver that is loaded proves nothing by itself, because the Vulkan loader loads all of them; a
 * driver of real hardware opens a device, one in software opens none.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import path from 'node:path'
import type { ProviderReport } from './provider-probe.js'

export interface WebGpuAdapter {
  /** E.g. "AMD 1002:744c (amdgpu)", "SwiftShader"; null where it is not known. */
  name: string | null
  /** `unknown` is what cannot be shown to be either. */
  kind: 'gpu' | 'software' | 'unknown'
}

/** Drivers that compute on the processor, by their libraries. */
const SOFTWARE: [library: RegExp, name: string][] = [
  [/^libvk_swiftshader\./, 'SwiftShader'],
  [/^libvulkan_(lvp|lavapipe)\./, 'llvmpipe'],
]
/** Drivers that hand on to another machine's or system's, which may be either. */
const HANDED_ON = /^libvulkan_(virtio|dzn|gfxstream)\.|^libVkICD_mock/

/** Both kinds, as patterns of the files that announce them, for the loader's VK_LOADER_DRIVERS_DISABLE (1.3.234 and newer). */
export const NOT_HARDWARE = '*swiftshader*,*lvp*,*lavapipe*,*virtio*,*dzn*,*gfxstream*,*mock*'

const DEVICE_NODE = /^\/dev\/(dri\/renderD\d+|nvidia\d+|kgsl-\S+|mali\d+)$/
const VENDORS: Record<string, string> = { '0x1002': 'AMD', '0x10de': 'NVIDIA', '0x8086': 'Intel' }

/** The adapter of a probe on Linux. `nameOf` names a device node. */
export function linuxAdapter(
  { libraries, nodes }: Pick<ProviderReport, 'libraries' | 'nodes'>,
  nameOf: (node: string) => string = nodeName,
): WebGpuAdapter {
  const files = libraries.map((file) => path.basename(file))
  const software = SOFTWARE.filter(([library]) => files.some((file) => library.test(file))).map(([, name]) => name)
  const handedOn = files.some((file) => HANDED_ON.test(file))
  const devices = [...new Set(nodes.filter((node) => DEVICE_NODE.test(node)).map(nameOf))]
  if (devices.length > 0) {
    const alone = software.length === 0 && !handedOn
    return { name: alone ? devices.join(' or ') : null, kind: alone ? 'gpu' : 'unknown' }
  }
  if (software.length === 0 || handedOn) return { name: null, kind: 'unknown' }
  return { name: software.join(' or '), kind: 'software' }
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    return ''
  }
}

/** Vendor, PCI numbers and kernel driver of a device node, as far as the system says. */
function nodeName(node: string): string {
  if (node.startsWith('/dev/nvidia')) return 'NVIDIA'
  const device = `/sys/class/drm/${path.basename(node)}/device`
  const [vendor, product] = [readText(`${device}/vendor`), readText(`${device}/device`)]
  if (VENDORS[vendor] === 'NVIDIA') return 'NVIDIA'
  let driver = ''
  try {
    driver = ` (${path.basename(readlinkSync(`${device}/driver`))})`
  } catch {
    // Not told.
  }
  if (vendor === '') return `${node}${driver}`
  const numbers = [vendor, product].map((text) => text.replace(/^0x/, '')).join(':')
  return `${VENDORS[vendor] ?? 'PCI'} ${numbers}${driver}`
}

/**
 * The adapter on a Mac, from `system_profiler SPDisplaysDataType -json`. Metal has no driver in software; only Apple's
 * own chips are taken for shown, since a virtual machine has a device of another name.
 */
export function macAdapter(json: string): WebGpuAdapter {
  let names: string[] = []
  try {
    const { SPDisplaysDataType: list } = JSON.parse(json) as { SPDisplaysDataType?: { sppci_model?: string }[] }
    names = (list ?? []).flatMap(({ sppci_model: name }) => (name ? [name] : []))
  } catch {
    // No list, no name.
  }
  const [name] = names
  if (name === undefined || names.length > 1) return { name: null, kind: 'unknown' }
  return { name, kind: /^Apple [AM]\d/.test(name) ? 'gpu' : 'unknown' }
}

/** Whether the system shows a device that WebGPU may compute on; without one nobody needs to try. */
export function showsGpu(platform: string = process.platform, devices = '/dev'): boolean {
  if (platform !== 'linux') return platform === 'darwin'
  const list = (folder: string): string[] => {
    try {
      return readdirSync(path.join(devices, folder))
    } catch {
      return []
    }
  }
  const nodes = [...list('.'), ...list('dri').map((name) => `dri/${name}`)]
  return nodes.some((name) => DEVICE_NODE.test(`/dev/${name}`))
}
