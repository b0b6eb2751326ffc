import fc from 'fast-check'
import { expect, it } from 'vitest'
import { packRawRgb, unpackRawRgb } from './raw-rgb.js'

it('pixels and what is known of their original survive packing', () => {
  const side = fc.integer({ min: 1, max: 9 })
  fc.assert(
    fc.property(
      side,
      side,
      fc.nat(1e6),
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      (height, width, size, sha256) => {
        const data = Uint8Array.from({ length: height * width * 3 }, (_, i) => i * 31)
        const packed = packRawRgb({
          image: { data, height, width },
          original: { height: size, width: size + 1, sha256 },
        })
        expect(unpackRawRgb(packed)).toEqual({
          image: { data, height, width },
          original: { height: size, width: size + 1, sha256: Uint8Array.from(sha256) },
        })
        expect(unpackRawRgb(packed.subarray(0, packed.length - 1))).toBeUndefined()
      },
    ),
  )
})

it('image files are no packed pixels', () => {
  expect(unpackRawRgb(new Uint8Array())).toBeUndefined()
  expect(unpackRawRgb(Uint8Array.from({ length: 500 }, (_, i) => i & 255))).toBeUndefined()
})
