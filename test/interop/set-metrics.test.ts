/** Metrics of sets against the numbers of the programs that define them (set-metrics.json, by set-metrics.ts). */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { cleanResize, FIXTURES, type OurNumbers, ourNumbers, sha256 } from './set-metrics-data.js'

const recorded = JSON.parse(readFileSync(new URL('./set-metrics.json', import.meta.url), 'utf8'))

describe('on the same features', () => {
  let ours: OurNumbers
  beforeAll(async () => {
    ours = await ourNumbers()
  })

  it('KID of whole sets equals torch-fidelity and clean-fid', () => {
    expect(Math.abs(ours.kid - recorded.torchFidelity.kid)).toBeLessThan(1e-12)
    expect(Math.abs(ours.kid - recorded.cleanFid.kid)).toBeLessThan(1e-12)
  })

  it('Inception Score equals torch-fidelity without shuffling, and ADM in splits of 5,000', () => {
    expect(ours.is).toBeCloseTo(recorded.torchFidelity.is.inception_score_mean, 10)
    expect(ours.isStd).toBeCloseTo(recorded.torchFidelity.is.inception_score_std, 10)
    expect(ours.isAdm).toBeCloseTo(recorded.guidedDiffusion.is, 10)
  })

  it('precision and recall equal torch-fidelity and ADM', () => {
    for (const theirs of [recorded.torchFidelity, recorded.guidedDiffusion]) {
      expect(theirs.precision).not.toBeCloseTo(theirs.recall, 2)
      expect(ours.precision).toBeCloseTo(theirs.precision, 6)
      expect(ours.recall).toBeCloseTo(theirs.recall, 6)
    }
  })

  it("the Fréchet distance equals pytorch-fid's and ADM's", () => {
    expect(Math.abs(ours.fid / recorded.pytorchFid.fid - 1)).toBeLessThan(1e-9)
    expect(Math.abs(ours.fid / recorded.guidedDiffusion.fid - 1)).toBeLessThan(1e-9)
  })
})

const named = FIXTURES.map((file): [string, string] => [path.basename(file), file])
it.each(named)("clean-fid's resize of %s is the same, bit for bit", async (name, file) => {
  expect(sha256(await cleanResize(file))).toBe(recorded.resized[name])
})
