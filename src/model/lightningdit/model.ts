/** The compiled LightningDiT: one graph per checkpoint, in the cache beside the tokenizer's. */
import { compileGraph, type GraphFile } from '../../graph/compile.js'
import type { DitCheckpoint } from './checkpoint.js'
import { buildDit, type DitSpec } from './graph.js'

/** Builds the graph of a checkpoint, or finds it in the cache. */
export function compileDit(dit: DitCheckpoint, spec: DitSpec, cacheDir: string): Promise<GraphFile> {
  return compileGraph({
    cacheDir,
    modelDigest: dit.digest,
    tower: 'dit',
    precision: spec.precision,
    spec,
    build: (graph) => buildDit(graph, dit.config, dit.readFloat32, spec),
  })
}
