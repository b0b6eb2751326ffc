import { expect, it } from 'vitest'
import { type ModelScores, mergeScores } from './eval-table.js'

const row = (modelDigest: string, more: Partial<ModelScores>): ModelScores => ({
  model: 'checkpoint',
  modelDigest,
  images: 5,
  listingDigest: 'x',
  protocols: [],
  ...more,
})

it('rows of one model become one; two models in folders of one name stay two', () => {
  const rows = mergeScores([
    row('aaaaaaaa1', { psnr: 30 }),
    row('bbbbbbbb2', { psnr: 20 }),
    row('aaaaaaaa1', { top1: 50 }),
  ])
  expect(rows.map(({ model, psnr, top1 }) => [model, psnr, top1])).toEqual([
    ['checkpoint (aaaaaaaa)', 30, 50],
    ['checkpoint (bbbbbbbb)', 20, undefined],
  ])
  expect(mergeScores([row('a', { psnr: 30 })])[0]!.model).toBe('checkpoint')
})
