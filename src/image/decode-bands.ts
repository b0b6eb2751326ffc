/**
 * What the decoders in WebAssembly on this thread (jpeg/, webp/) have in common: an image comes out of a module band
 * by band, as a whole or as the part of it that is wanted. The module's memory belongs to this thread and is reused;
 * it holds a file and a few rows, never the image.
 */
import type { RgbImage } from '../types.js'
import type { ImageSides } from './crop.js'
import type { ImagePart, WantPart } from './cropped-resize.js'

export interface BandModule {
  memory: { readonly buffer: ArrayBuffer }
  choosePart(left: number, top: number, width: number, height: number, halvings: number): number
  isDone(): number
  nextBand(): number
  bandAt(): number
}

/** Larger files go elsewhere: memory, once grown, is not given back. */
export const MAX_FILE_BYTES = 64 << 20

export interface HereOptions {
  /** What of the image is wanted; default: the whole. */
  wantPart?: WantPart
  /** Where the pixels go; default: memory of their own. What it gave is dropped where the file is refused. */
  allocate?(bytes: number): Uint8Array<ArrayBuffer>
}

/**
 * The pixels of a file whose memory `module` has laid out. `start` gives it the file's bytes, once the part is known,
 * and is false where it gives up. `checkTime` may throw between two bands. Undefined: the module gave up.
 */
export function decodeBands(
  module: BandModule,
  whole: ImageSides,
  start: () => boolean,
  checkTime: () => void,
  { wantPart, allocate }: HereOptions,
): RgbImage | ImagePart | undefined {
  const part = wantPart?.(whole)
  if (part) {
    const sides = [part.left, part.top, part.width, part.height].map((side) => side << part.halvings)
    const [left, top, width, height] = sides as [number, number, number, number]
    if (!module.choosePart(left, top, width, height, part.halvings)) return undefined
  }
  if (!start()) return undefined
  const { width, height } = part ?? whole
  // Not zeroed first: every byte is written, or nobody sees it.
  const bytes = width * height * 3
  const data = allocate?.(bytes) ?? new Uint8Array(Buffer.allocUnsafeSlow(bytes).buffer)
  for (let y = 0; !module.isDone(); ) {
    const rows = module.nextBand()
    if (rows < 0) return undefined
    if (rows > 0) data.set(new Uint8Array(module.memory.buffer, module.bandAt(), rows * width * 3), y * width * 3)
    y += rows
    checkTime()
  }
  return { data, width, height, ...(part && { of: whole, left: part.left, top: part.top }) }
}
