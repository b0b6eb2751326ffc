import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { tempDir } from '../../test/support/cli.js'
import { type ModelScores, mergeScores, readScores } from './eval-table.js'

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

it('two precisions of one model stay apart, each with what was measured at it', () => {
  const rows = mergeScores([
    row('a', { precision: 'fp32', psnr: 30 }),
    row('a', { precision: 'int8', psnr: 29 }),
    row('a', { precision: 'int8', top1: 49 }),
    row('a', { precision: 'fp32', top1: 50 }),
  ])
  expect(rows.map(({ model, psnr, top1 }) => [model, psnr, top1])).toEqual([
    ['checkpoint (fp32)', 30, 50],
    ['checkpoint (int8)', 29, 49],
  ])
})

it('two numbers of one model for one column are two rows, in their order', () => {
  const rows = mergeScores([row('a', { psnr: 30 }), row('a', { psnr: 28 }), row('a', { psnr: 30, ssim: 0.9 })])
  expect(rows.map(({ model, psnr, ssim }) => [model, psnr, ssim])).toEqual([
    ['checkpoint (protocol 1)', 30, 0.9],
    ['checkpoint (protocol 2)', 28, undefined],
  ])
})

it('a table that was written is read back row by row, and so are the results of one evaluation', async () => {
  const file = path.join(tempDir(), 'results.json')
  const table = mergeScores([row('aaaaaaaa1', { psnr: null, protocols: ['p'] }), row('bbbbbbbb2', { psnr: 20 })])
  writeFileSync(file, JSON.stringify(table))
  expect(await readScores(file)).toEqual(table)
  const { protocols: _, ...one } = row('a', { top1: 50 })
  writeFileSync(file, JSON.stringify({ ...one, protocol: 'q', rejects: 0 }))
  expect(await readScores(file)).toEqual([row('a', { top1: 50, protocols: ['q'] })])
})

it.each(['[]', '[1]', 'null', '{"model":"a"}', '{'])('%s is not taken for results', async (text) => {
  const file = path.join(tempDir(), 'results.json')
  writeFileSync(file, text)
  await expect(readScores(file)).rejects.toMatchObject({ code: 'bad_results', exitCode: 2 })
})
