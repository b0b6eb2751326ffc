import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { tempDir } from '../../test/support/cli.js'
import { encodeNpy } from '../io/numpy/npy.js'
import { encodeNpz } from '../io/numpy/npz.js'
import { philox4x32 } from '../math/philox.js'
import { assignLabels, parseClasses } from './labels.js'
import { sampleChoice, sampleNoise } from './noise.js'
import { openNoiseFile, readLabelFile } from './noise-source.js'

const hex = (words: number[]): string => words.map((word) => word.toString(16).padStart(8, '0')).join(' ')

describe('philox4x32-10', () => {
  it("gives the known answers of its authors' Random123", () => {
    const ones = 0xffffffff
    expect(hex(philox4x32([0, 0, 0, 0], [0, 0]))).toBe('6627e8d5 e169c58d bc57ac4c 9b00dbd8')
    expect(hex(philox4x32([ones, ones, ones, ones], [ones, ones]))).toBe('408f276d 41c83b0e a20bc7c6 6d5451fd')
    expect(hex(philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]))).toBe(
      'd16cfe09 94fdcceb 5001e420 24126ea1',
    )
  })
})

describe('noise', () => {
  it('is standard normal', () => {
    const values = sampleNoise(3, 7, 200_000)
    const mean = values.reduce((a, b) => a + b, 0) / values.length
    const moment = (k: number): number => values.reduce((a, b) => a + (b - mean) ** k, 0) / values.length
    expect(Math.abs(mean)).toBeLessThan(0.01)
    expect(Math.abs(moment(2) - 1)).toBeLessThan(0.02)
    expect(Math.abs(moment(3))).toBeLessThan(0.03)
    expect(Math.abs(moment(4) - 3)).toBeLessThan(0.1)
  })

  it('of a sample depends on seed and index alone, and differs between them', () => {
    expect(sampleNoise(1, 5, 64)).toEqual(sampleNoise(1, 5, 64))
    // A prefix is a prefix: the size of the latent does not reshuffle it.
    expect(sampleNoise(1, 5, 128).subarray(0, 64)).toEqual(sampleNoise(1, 5, 64))
    const seen = new Set<number>()
    for (const seed of [0, 1, 2 ** 40]) for (const index of [0, 1, 2 ** 33]) seen.add(sampleNoise(seed, index, 1)[0]!)
    expect(seen.size).toBe(9)
  })

  it('has these very values: a changed generator would change every image', () => {
    expect([...sampleNoise(0, 0, 4)]).toMatchInlineSnapshot(`
      [
        -0.09047304838895798,
        -1.0051318407058716,
        -0.9238336086273193,
        -2.512953758239746,
      ]
    `)
    expect([0, 1, 2, 3].map((i) => sampleChoice(0, i, 1000))).toMatchInlineSnapshot(`
      [
        417,
        475,
        8,
        126,
      ]
    `)
  })
})

describe('labels', () => {
  it('are balanced in every prefix, or drawn from all classes', () => {
    const balanced = assignLabels({ num: 7, numClasses: 1000, classes: [207, 360], mode: 'balanced', seed: 0 })
    expect([...balanced]).toEqual([207, 360, 207, 360, 207, 360, 207])
    const random = assignLabels({ num: 20_000, numClasses: 10, mode: 'random', seed: 4 })
    const counts = Array.from({ length: 10 }, (_, c) => random.filter((label) => label === c).length)
    for (const count of counts) expect(Math.abs(count - 2000)).toBeLessThan(200)
  })

  it('a longer run begins with the shorter one', () => {
    const of = (num: number): Int32Array => assignLabels({ num, numClasses: 1000, mode: 'random', seed: 9 })
    expect(of(100).subarray(0, 30)).toEqual(of(30))
  })

  it('are read as numbers and ranges', () => {
    expect(parseClasses('207, 360,5-7')).toEqual([207, 360, 5, 6, 7])
    expect(parseClasses('all')).toBe('all')
    expect(parseClasses(undefined)).toBeUndefined()
    for (const text of ['', 'cat', '7-5', '1,,2', '-1']) expect(() => parseClasses(text)).toThrow(/--classes/)
  })
})

describe('noise and classes from NumPy files', () => {
  it('rows of .npy and of an array in .npz, and integers', async () => {
    const dir = tempDir()
    const shape = [3, 1, 2, 2]
    const data = Float64Array.from({ length: 12 }, (_, i) => i / 4)
    writeFileSync(path.join(dir, 'z.npy'), encodeNpy(data, shape))
    const classes = { name: 'arr_1', shape: [3], data: BigInt64Array.of(5n, 9n, 0n) }
    writeFileSync(path.join(dir, 'set.npz'), encodeNpz([{ name: 'z', shape, data }, classes]))
    for (const ref of ['z.npy', 'set.npz', 'set.npz#z']) {
      const noise = await openNoiseFile(path.join(dir, ref), [1, 2, 2], dir)
      expect(noise.rows).toBe(3)
      expect([...(await noise.read(2))]).toEqual([2, 2.25, 2.5, 2.75])
      await noise.close()
    }
    expect(await readLabelFile(path.join(dir, 'set.npz#arr_1'))).toEqual([5, 9, 0])
    await expect(readLabelFile(path.join(dir, 'set.npz#z'))).rejects.toMatchObject({ code: 'bad_dtype' })
  })
})
