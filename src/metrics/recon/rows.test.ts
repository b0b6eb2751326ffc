import { expect, it } from 'vitest'
import type { ListingEntry } from '../../types.js'
import { type ReconRow, scoresToRow } from './rows.js'
import { summarize } from './summary.js'

const entry = { key: 'a/b.png', uri: 'a/b.png', at: { kind: 'file', path: 'a/b.png' } } as unknown as ListingEntry

it('only an infinite PSNR is an identical image; NaN is an error that names the image', () => {
  expect(scoresToRow(entry, { psnr: Number.POSITIVE_INFINITY })).toEqual({ entry, psnr: null })
  for (const scores of [{ psnr: Number.NaN }, { psnr: Number.NEGATIVE_INFINITY }, { ssim: Number.NaN }])
    expect(() => scoresToRow(entry, scores)).toThrow(/of a\/b\.png is (NaN|-Infinity)/)
})

it('lines of earlier versions that hold null for a NaN are no zero', async () => {
  async function* rows(): AsyncGenerator<ReconRow> {
    yield { entry, psnr: null, lpips: null as unknown as number }
  }
  await expect(summarize(rows(), 32)).rejects.toMatchObject({ code: 'non_finite' })
})
