/**
 * `vtp encode --dry-run`: the plan, the expected size, and the expected time from encoding a few images
 * of the source for real. Writes nothing to DEST.
 */
import { open } from 'node:fs/promises'
import { parseListingEntry } from '../io/listing.js'
import { tensorBytes } from '../io/shards/rebatch.js'
import type { PassedOver, SourceNote, TensorColumn } from '../types.js'
import type { EncodeRequest } from './encode-request.js'
import { listingFacts } from './ledger/plan.js'
import { preparePlan } from './ledger/prepare-plan.js'
import { openBatchEncoder } from './stream/batch-encoder.js'
import { withBatchSize } from './stream/batch-size.js'

export interface DryRun {
  images: number
  units: number
  /** Classes of the labels, where they have names. */
  classes: number | null
  passedOver: PassedOver
  notes: SourceNote[]
  /** Expected bytes of the tensors in all shards. */
  bytes: number
  bytesPerImage: number
  columns: TensorColumn[]
  transform: string
  model: string
  planHash: string
  resumed: boolean
  /** Images per pass of the model. */
  batchSize: number
  /** Images that were measured, rejects included. */
  sampled: number
  sampleRejects: number
  imagesPerSecond: number
  expectedSeconds: number
}

const SAMPLE_BATCHES = 3

export async function dryRun(wanted: EncodeRequest): Promise<DryRun> {
  const prepared = await preparePlan(wanted, true)
  try {
    const request = await withBatchSize(prepared, wanted)
    const { plan } = prepared
    const lines = await firstLines(prepared.listingFile!, request.batchSize * SAMPLE_BATCHES)
    const encoder = await openBatchEncoder(prepared, request, false)
    let sampled = 0
    let rejects = 0
    let began = performance.now()
    try {
      for (let start = 0; start < lines.length; start += request.batchSize) {
        const entries = lines.slice(start, start + request.batchSize).map(parseListingEntry)
        // The first batch warms up decoder and session; it counts only when there is no other.
        if (start === request.batchSize) began = performance.now()
        const job = { index: 0, unit: plan.units[0]!, isolated: false }
        const encoded = await encoder.encode({ job, start, entries, last: false })
        rejects += encoded.rejects.length
        sampled += entries.length
      }
    } finally {
      await encoder.close()
    }
    const timed = lines.length > request.batchSize ? lines.length - request.batchSize : lines.length
    const imagesPerSecond = timed / Math.max((performance.now() - began) / 1000, 1e-6)
    const bytesPerImage = tensorBytes(plan.columns)
    return {
      images: plan.source.images,
      units: plan.units.length,
      ...listingFacts(plan),
      bytes: bytesPerImage * plan.source.images,
      bytesPerImage,
      columns: plan.columns,
      transform: plan.transform,
      model: plan.model.name,
      planHash: plan.hash,
      resumed: prepared.resumed,
      batchSize: request.batchSize,
      sampled,
      sampleRejects: rejects,
      imagesPerSecond,
      expectedSeconds: plan.source.images / imagesPerSecond,
    }
  } finally {
    await prepared.close()
  }
}

async function firstLines(file: string, count: number): Promise<string[]> {
  const lines: string[] = []
  const handle = await open(file)
  try {
    for await (const line of handle.readLines()) {
      lines.push(line)
      if (lines.length === count) break
    }
  } finally {
    await handle.close().catch(() => {})
  }
  return lines
}
