/**
 * WebP → RGB on this thread, in WebAssembly with 128-bit vectors (wasm/), equal to libwebp bit for bit. It takes still
 * pictures, lossy ones without alpha, and only files without damage: where it returns undefined, libwebp has to look
 * at the file, which also decides what is refused and why.
 */
import type { RgbImage } from '../../types.js'
import { onceWasm } from '../../wasm.js'
import type { ImagePart } from '../cropped-resize.js'
import { type BandModule, decodeBands, type HereOptions, MAX_FILE_BYTES } from '../decode-bands.js'
import { readWebpPicture, type WebpPicture } from './container.js'
import { LOSSLESS_WASM } from './lossless-bytes.js'
import { LOSSY_WASM } from './lossy-bytes.js'

interface WebpModule extends BandModule {
  begin(bytes: number, width: number, height: number): number
}

interface LossyModule extends WebpModule {
  start(bytes: number, modeBytes: number): number
}

interface LosslessModule extends WebpModule {
  start(bytes: number): number
}

/** The lossless decoder keeps all pixels, four bytes each: larger pictures go to libwebp. */
const MAX_LOSSLESS_PIXELS = 1 << 24

const loadLossy = onceWasm<LossyModule>(LOSSY_WASM)
const loadLossless = onceWasm<LosslessModule>(LOSSLESS_WASM)

/**
 * Decodes a WebP picture, or the part of it that is wanted. `checkSize` may throw before anything is decoded,
 * `checkTime` while it is. Undefined: the file is of another kind or damaged, wherever the damage is.
 */
export function decodeWebp(
  bytes: Uint8Array,
  checkSize: (width: number, height: number) => void,
  checkTime: () => void,
  options: HereOptions = {},
): RgbImage | ImagePart | undefined {
  const picture = readWebpPicture(bytes)
  if (!picture || picture.data.length > MAX_FILE_BYTES) return undefined
  const { kind, width, height } = picture
  checkSize(width, height)
  if (kind === 'lossless' && width * height > MAX_LOSSLESS_PIXELS) return undefined
  const decoder = kind === 'lossy' ? openLossy(picture.modeBytes) : openLossless()
  return decoder && decodePicture(picture, decoder, checkTime, options)
}

interface Decoder {
  module: WebpModule
  start(bytes: number): number
}

function openLossy(modeBytes: number): Decoder | undefined {
  const module = loadLossy()
  return module && { module, start: (bytes) => module.start(bytes, modeBytes) }
}

function openLossless(): Decoder | undefined {
  const module = loadLossless()
  return module && { module, start: (bytes) => module.start(bytes) }
}

function decodePicture(
  { data, width, height }: WebpPicture,
  { module, start }: Decoder,
  checkTime: () => void,
  options: HereOptions,
): RgbImage | ImagePart | undefined {
  const at = module.begin(data.length, width, height)
  if (at === 0) return undefined
  const load = (): boolean => {
    new Uint8Array(module.memory.buffer).set(data, at)
    return start(data.length) !== 0
  }
  return decodeBands(module, { width, height }, load, checkTime, options)
}
