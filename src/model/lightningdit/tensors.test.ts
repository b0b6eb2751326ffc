import { expect, it } from 'vitest'
import type { DitConfig } from './config.js'
import { expectedDitTensors, inferDitConfig } from './tensors.js'

const config: DitConfig = {
  inputSize: 16,
  patchSize: 1,
  inChannels: 64,
  hiddenSize: 96,
  depth: 2,
  numHeads: 4,
  mlpRatio: 4,
  numClasses: 1000,
  nullClass: true,
  learnSigma: false,
  qkNorm: false,
  swiglu: true,
  rope: true,
  rmsNorm: true,
  woShift: false,
}

it.each([
  [4, true],
  [4, false],
  [2, true],
  [2, false],
  [2.6875, true],
  [3.5, false],
])('an MLP ratio of %d (SwiGLU %s) follows from the shapes', (mlpRatio, swiglu) => {
  const wanted = expectedDitTensors({ ...config, mlpRatio, swiglu })
  const inferred = inferDitConfig(wanted, 'a.pt')
  expect(expectedDitTensors(inferred)).toEqual(wanted)
  if (Number.isInteger(mlpRatio)) expect(inferred.mlpRatio).toBe(mlpRatio)
})
