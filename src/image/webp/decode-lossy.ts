/**
 * Lossy WebP → RGB on this thread, in WebAssembly with 128-bit vectors (wasm/), equal to libwebp bit for bit. It takes
 * still pictures without alpha and only files without damage: where it returns undefined, libwebp has to look at the
 * file, which also decides what is refused and why.
 */
import type { RgbImage } from '../../types.js'
import { onceWasm } from '../../wasm.js'
import type { ImagePart } from '../cropped-resize.js'
import { type BandModule, decodeBands, type HereOptions, MAX_FILE_BYTES } from '../decode-bands.js'
import { readLossyFrame } from './container.js'
import { WEBP_WASM } from './wasm-bytes.js'

interface WebpModule extends BandModule {
  begin(frameBytes: number, width: number, height: number): number
  start(frameBytes: number, modeBytes: number): number
}

const loadModule = onceWasm<WebpModule>(WEBP_WASM)

/**
 * Decodes a lossy WebP picture, or the part of it that is wanted. `checkSize` may throw before anything is decoded,
 * `checkTime` while it is. Undefined: the file is of another kind or damaged, wherever the damage is.
 */
export function decodeLossyWebp(
  bytes: Uint8Array,
  checkSize: (width: number, height: number) => void,
  checkTime: () => void,
  options: HereOptions = {},
): RgbImage | ImagePart | undefined {
  const frame = readLossyFrame(bytes)
  if (!frame || frame.data.length > MAX_FILE_BYTES) return undefined
  const module = loadModule()
  if (!module) return undefined
  const { width, height, data, modeBytes } = frame
  checkSize(width, height)
  const at = module.begin(data.length, width, height)
  if (at === 0) return undefined
  const start = (): boolean => {
    new Uint8Array(module.memory.buffer).set(data, at)
    return module.start(data.length, modeBytes) !== 0
  }
  return decodeBands(module, { width, height }, start, checkTime, options)
}
