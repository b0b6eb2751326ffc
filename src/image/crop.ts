/** Rectangles of images. */
import type { RgbImage } from '../types.js'

export type ImageSides = Pick<RgbImage, 'width' | 'height'>

export interface Rectangle extends ImageSides {
  left: number
  top: number
}

/** A rectangle of the image; it must lie inside. */
export function cropImage(image: RgbImage, left: number, top: number, width: number, height: number): RgbImage {
  if (left === 0 && top === 0 && width === image.width && height === image.height) return image
  const data = new Uint8Array(width * height * 3)
  for (let y = 0; y < height; y++) {
    const from = ((top + y) * image.width + left) * 3
    data.set(image.data.subarray(from, from + width * 3), y * width * 3)
  }
  return { data, width, height }
}

/** Some rows of the image, in the same memory. */
export function rowsOf({ data, width }: RgbImage, top: number, height: number): RgbImage {
  return { data: data.subarray(top * width * 3, (top + height) * width * 3), width, height }
}
