import { describe, expect, it } from 'vitest'
import { decodeImage } from './decode.js'

const grey = (...values: number[]): number[] => values.flatMap((value) => [value, value, value])

async function pixels(file: string): Promise<number[]> {
  return [...(await decodeImage(Buffer.from(file, 'latin1'))).data]
}

describe('PBM, PGM and PPM files, with the pixels that Pillow 12 gives them', () => {
  it.each([
    ['plain bits', 'P1\n# a comment\n3 2\n0 1 0\n1 1 0\n', grey(255, 0, 255, 0, 0, 255)],
    ['plain bits without spaces', 'P1 3 2 010110', grey(255, 0, 255, 0, 0, 255)],
    ['plain grey, scaled', 'P2\n3 1\n15\n0 7 15\n', grey(0, 119, 255)],
    ['plain grey, halves to the even value', 'P2 3 1 2 0 1 2', grey(0, 128, 255)],
    ['plain grey of 16 bits, clipped', 'P2 3 1 65535 0 200 70', grey(0, 200, 70)],
    ['plain grey of 10 bits, scaled and clipped', 'P2 3 1 1000 0 1 9', grey(0, 66, 255)],
    ['plain colour', 'P3 1 2 255 1 2 3 4 5 6', [1, 2, 3, 4, 5, 6]],
    [
      'a comment joins its neighbours',
      'P2 1#x\n2 1 255 1#x\n2 34 5 6 7 8 9 10 11 12 13 14',
      grey(12, 34, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14),
    ],
    [
      'bits',
      'P4\n9 2\n\x80\x80\x01\x00',
      grey(0, 255, 255, 255, 255, 255, 255, 255, 0, 255, 255, 255, 255, 255, 255, 255, 0, 255),
    ],
    ['grey', 'P5\n2 1\n255\n\x07\xff', grey(7, 255)],
    ['grey of 16 bits, clipped', 'P5 2 1 65535\n\x00\x07\x01\x00', grey(7, 255)],
    ['grey, scaled', 'P5 2 1 100 \x32\xff', grey(128, 255)],
    ['colour', 'P6 1 1 255 abc', [97, 98, 99]],
    ['colour of 16 bits, scaled', 'P6 1 1 65535\n\x00\x80\x80\x00\xff\xff', [0, 128, 255]],
  ])('%s', async (_, file, expected) => {
    expect(await pixels(file)).toEqual(expected)
  })

  it.each([
    ['no size', 'P6 '],
    ['a size that is not a number', 'P6 x 1 255 abc'],
    ['a largest value of 0', 'P5 1 1 0 a'],
    ['a largest value beyond 16 bits', 'P5 1 1 65536 aa'],
    ['too few pixels', 'P6 2 1 255 abc'],
    ['too few plain values', 'P3 1 1 255 1 2'],
    ['a plain value beyond the largest', 'P2 1 1 10 11'],
    ['a plain value that is not a number', 'P2 1 1 10 x'],
    ['a bit that is neither 0 nor 1', 'P1 1 1 2'],
    ['no pixels at all', 'P5 0 4 255 '],
  ])('%s is corrupt', async (_, file) => {
    await expect(pixels(file)).rejects.toMatchObject({ code: 'corrupt' })
  })

  it('a size of terabytes is refused by it', async () => {
    await expect(pixels('P6 9999999 9999999 255 ')).rejects.toMatchObject({ code: 'too_many_pixels' })
  })
})
