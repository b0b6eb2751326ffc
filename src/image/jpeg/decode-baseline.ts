/**
 * Baseline JPEG → RGB on this thread, in WebAssembly with 128-bit vectors (wasm/), equal to libjpeg-turbo bit
 * for bit. It takes most photographs and only files without damage: where it returns undefined, libjpeg-turbo
 * has to look at the file, which also decides what is refused and why.
 */
import type { RgbImage } from '../../types.js'
import { onceWasm } from '../../wasm.js'
import type { ImagePart } from '../cropped-resize.js'
import { type BandModule, decodeBands, type HereOptions, MAX_FILE_BYTES } from '../decode-bands.js'
import { type JpegHeader, readJpegHeader } from './header.js'
import { JPEG_WASM } from './wasm-bytes.js'

interface JpegModule extends BandModule {
  huffmanAt: { value: number }
  quantAt: { value: number }
  buildTable(index: number): number
  setTables(component: number, dc: number, ac: number): void
  begin(
    scanBytes: number,
    width: number,
    height: number,
    components: number,
    across: number,
    down: number,
    restartInterval: number,
  ): number
  start(scanBytes: number): number
  scanEnd(): number
}

const EOI = 0xd9

// Zigzag order -> natural order.
const NATURAL = [
  0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
  35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47,
  55, 62, 63,
]

const loadModule = onceWasm<JpegModule>(JPEG_WASM)

/**
 * Decodes a baseline JPEG, or the part of it that is wanted. `checkSize` may throw before anything is decoded,
 * `checkTime` while it is. Undefined: the file is of another kind or damaged, wherever the damage is.
 */
export function decodeBaselineJpeg(
  bytes: Uint8Array,
  checkSize: (width: number, height: number) => void,
  checkTime: () => void,
  options: HereOptions = {},
): RgbImage | ImagePart | undefined {
  const header = readJpegHeader(bytes)
  if (!header || bytes.length - header.scanAt > MAX_FILE_BYTES) return undefined
  const module = loadModule()
  if (!module) return undefined
  const whole = { width: header.width, height: header.height }
  checkSize(whole.width, whole.height)
  const scan = bytes.subarray(header.scanAt)
  const at = openScan(module, header, scan)
  if (at === 0) return undefined
  const image = decodeBands(module, whole, () => startScan(module, scan, at), checkTime, options)
  // Anything else behind the pixels is libjpeg-turbo's to judge.
  const end = module.scanEnd()
  return scan[end] === 0xff && scan[end + 1] === EOI ? image : undefined
}

/** Gives the module a file's tables. Returns where its scan goes; 0 where it gives up. */
function openScan(module: JpegModule, header: JpegHeader, scan: Uint8Array): number {
  const { components, huffman, quantisers } = header
  const memory = () => new Uint8Array(module.memory.buffer)
  const at = module.begin(
    scan.length,
    header.width,
    header.height,
    components.length,
    header.across,
    header.down,
    header.restartInterval,
  )
  if (at === 0) return 0
  for (const index of new Set(components.flatMap(({ dc, ac }) => [dc, 4 + ac]))) {
    memory().set(huffman[index]!, module.huffmanAt.value)
    if (!module.buildTable(index)) return 0
  }
  for (const [i, { quant, dc, ac }] of components.entries()) {
    const table = new Uint16Array(module.memory.buffer, module.quantAt.value + i * 128, 64)
    NATURAL.forEach((natural, zigzag) => {
      table[natural] = quantisers[quant]![zigzag]!
    })
    module.setTables(i, dc, ac)
  }
  return at
}

function startScan(module: JpegModule, scan: Uint8Array, at: number): boolean {
  new Uint8Array(module.memory.buffer).set(scan, at)
  return module.start(scan.length) !== 0
}
