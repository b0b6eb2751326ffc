/**
 * WebP → RGB on this thread, in WebAssembly with 128-bit vectors (wasm/), equal to libwebp bit for bit. It takes still
 * pictures and only files without damage: where it returns undefined, libwebp has to look at the file, which also
 * decides what is refused and why.
 */
import type { RgbImage } from '../../types.js'
import { onceWasm } from '../../wasm.js'
import type { ImagePart } from '../cropped-resize.js'
import { type BandModule, decodeBands, type HereOptions, MAX_FILE_BYTES } from '../decode-bands.js'
import { type Picture, readWebpPicture } from './container.js'
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
  const picture = bytes.length <= MAX_FILE_BYTES ? readWebpPicture(bytes) : undefined
  if (!picture) return undefined
  const { width, height } = picture
  checkSize(width, height)
  if (picture.kind === 'lossless') return decodeLossless(picture, checkTime, options)
  if (picture.alpha && !isSoundAlpha(picture.alpha, picture, checkTime)) return undefined
  const module = loadLossy()
  const { modeBytes } = picture
  return module && decodePicture(picture, module, (size) => module.start(size, modeBytes), checkTime, options)
}

function decodeLossless(
  picture: Picture,
  checkTime: () => void,
  options: HereOptions,
): RgbImage | ImagePart | undefined {
  if (picture.width * picture.height > MAX_LOSSLESS_PIXELS) return undefined
  const module = loadLossless()
  return module && decodePicture(picture, module, (size) => module.start(size), checkTime, options)
}

const ONE_PIXEL = { left: 0, top: 0, width: 1, height: 1, halvings: 0 }

/** Whether alpha, which nobody looks at, is what libwebp accepts (RFC 9649, section 2.7.1.2). */
function isSoundAlpha(alpha: Uint8Array, { width, height }: Picture, checkTime: () => void): boolean {
  const header = alpha[0] ?? 0xff
  const [compression, preprocessing, reserved] = [header & 3, (header >> 4) & 3, header >> 6]
  if (compression > 1 || preprocessing > 1 || reserved !== 0) return false
  const data = alpha.subarray(1)
  if (compression === 0) return data.length >= width * height
  return decodeLossless({ data, width, height }, checkTime, { wantPart: () => ONE_PIXEL }) !== undefined
}

function decodePicture(
  { data, width, height }: Picture,
  module: WebpModule,
  start: (size: number) => number,
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
