/** Versions that end up in plans and shards. */
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { GRAPH_VERSION } from './graph/version.js'
import { packageFile } from './package.js'

const require = createRequire(import.meta.url)

/** The version of this program. */
export function vtpVersion(): string {
  return (require(fileURLToPath(packageFile('package.json'))) as { version: string }).version
}

/** Versions that may change the bits of an output: our graphs and ONNX Runtime. */
export function engineVersion(): string {
  const runtime = (require('onnxruntime-node/package.json') as { version: string }).version
  return `graph ${GRAPH_VERSION}, onnxruntime ${runtime}`
}
