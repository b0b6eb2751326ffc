/**
 * Evaluation for programs. Results go where `out` says, and an interrupted evaluation continues when the same call is
 * made again.
 */
import type { ClassifyResult } from '../metrics/classify/evaluate.js'
import { compareSets } from '../metrics/fid/compare.js'
import type { CompareResult } from '../metrics/fid/request.js'
import { evaluateProbe as runProbe } from '../metrics/probe/evaluate.js'
import type { ProbeResult } from '../metrics/probe/request.js'
import { evaluateReconstruction as runReconstruction } from '../metrics/recon/evaluate.js'
import type { ReconResult } from '../metrics/recon/request.js'
import { evaluateZeroshot as runZeroshot } from '../metrics/zeroshot/evaluate.js'
import {
  type FidOptions,
  fidRequest,
  type ProbeOptions,
  probeRequest,
  type ReconstructionOptions,
  reconRequest,
  type ZeroShotOptions,
  zeroshotRequest,
} from './evaluation-requests.js'

export type {
  EvaluationOptions,
  FidOptions,
  ProbeOptions,
  ReconstructionOptions,
  ZeroShotOptions,
} from './evaluation-requests.js'

/** How well a model reconstructs a dataset: rFID, PSNR, SSIM and LPIPS, with their protocol. */
export async function evaluateReconstruction(options: ReconstructionOptions): Promise<ReconResult> {
  return runReconstruction(reconRequest(options))
}

/** Zero-shot classification of a labelled dataset: top-1, top-5, every class, the most frequent mistakes. */
export async function evaluateZeroShot(options: ZeroShotOptions): Promise<ClassifyResult> {
  return runZeroshot(zeroshotRequest(options))
}

/** The linear probe: the best of a grid of linear heads on frozen features. */
export async function evaluateProbe(options: ProbeOptions): Promise<ProbeResult> {
  return runProbe(probeRequest(options))
}

/** Compares two sets of images: FID and its relatives, with their protocol. */
export async function fid(options: FidOptions): Promise<CompareResult> {
  return compareSets(fidRequest(options))
}
