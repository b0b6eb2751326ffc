/**
 * Where pictures for people go: a PNG per key below a folder, or all of them in one sheet. A picture's place in a sheet
 * is its index, not the moment when it was done.
 */
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { usageError } from '../errors.js'
import { grid } from '../image/montage.js'
import { encodeJpeg, encodePng } from '../image/png.js'
import { writeAtomically } from '../io/atomic.js'
import type { RgbImage } from '../types.js'

export const IMAGE_EXTENSION = /\.(jpe?g|jpe|png|webp|gif|bmp|tiff?|p[bgpn]m)$/i

/** Pixels between the pictures of a sheet. */
const SHEET_GAP = 4
/** So many pictures are shown unless `--limit` says otherwise, and at most. */
export const SHEET_IMAGES = 64
export const MOST_SHEET_IMAGES = 1000
const MOST_PER_ROW = 8

export interface PictureSink {
  /** Takes a picture; `index` counts the pictures from 0. */
  put(index: number, key: string, image: RgbImage): Promise<void>
  /** Writes what is written at the end. */
  finish(): Promise<void>
}

/** A PNG per picture, named by its key. */
export function folderOfPictures(folder: string): PictureSink {
  const nameOf = createPngNames()
  return {
    put: (_, key, image) => writePicture(path.join(folder, nameOf(key)), image),
    async finish() {},
  }
}

/** One picture of all, `perRow` beside each other; default: as square as it gets, at most 8. */
export function sheetOfPictures(file: string, perRow?: number): PictureSink {
  assertPictureName(file)
  const images: RgbImage[] = []
  return {
    async put(index, _, image) {
      images[index] = image
    },
    async finish() {
      if (images.length === 0) return
      const columns = perRow ?? Math.min(MOST_PER_ROW, Math.ceil(Math.sqrt(images.length)))
      await writeSheet(file, images, Math.min(columns, images.length))
    },
  }
}

/** Images in rows of `columns`, in one file. */
export async function writeSheet(file: string, images: RgbImage[], columns: number): Promise<void> {
  await writePicture(file, grid(images, columns, SHEET_GAP))
}

/** Writes a JPEG where the name says so, else a PNG. */
export async function writePicture(file: string, image: RgbImage): Promise<void> {
  const bytes = /\.jpe?g$/i.test(file) ? await encodeJpeg(image) : await encodePng(image)
  await writeAtomically(file, (tmp) => writeFile(tmp, bytes))
}

/** Throws usage error `bad_out` for a name that is not a picture's. */
export function assertPictureName(out: string): void {
  if (/\.(png|jpe?g)$/i.test(out)) return
  throw usageError('bad_out', `--out ${out} is not the name of a picture`, ['end it with .png or .jpg'])
}

/** File names for keys: the key with its image extension replaced, never outside the folder, never twice. */
export function createPngNames(): (key: string) => string {
  const used = new Set<string>()
  return (key) => {
    const parts = key
      .split(/[/\\]/)
      .map((part) => (part === '' || part === '.' || part === '..' ? '_' : part.replaceAll('\0', '_')))
    let name = parts.join('/').replace(IMAGE_EXTENSION, '')
    // Two keys that differ only in their extension: the second keeps it.
    if (used.has(name)) name = parts.join('/')
    while (used.has(name)) name += '_'
    used.add(name)
    return `${name}.png`
  }
}
