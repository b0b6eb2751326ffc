/**
 * Compiled graphs in the cache. A tower's weights are written once per checkpoint into one blob, tensor
 * by tensor (memory stays near the largest tensor), in the layout that the graphs use; each graph is a
 * small .onnx file beside it that points into the blob, which ONNX Runtime maps into memory. What a build of this
 * program has compiled it finds again by a note, without building it; run from its sources it always builds.
 */
import { createHash } from 'node:crypto'
import { open, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { systemCode, VtpError } from '../errors.js'
import { writeAtomically } from '../io/atomic.js'
import { readCachedJson, writeCachedJson } from '../io/cache.js'
import type { BlobTensor, GraphBuilder, Port } from './builder.js'
import type { Precision } from './precision.js'
import { buildId, GRAPH_VERSION } from './version.js'

export interface GraphFile {
  /** The .onnx file; its external data lies beside it. */
  path: string
  /** The file of weights beside it. */
  weights: string
  digest: string
  inputs: Port[]
  outputs: Port[]
}

export interface CompileRequest {
  cacheDir: string
  modelDigest: string
  /** Names the weight blob: graphs of one tower share it. */
  tower: string
  /** Each precision has weights of its own. Default fp32. */
  precision?: Precision
  /** Everything besides the checkpoint that shapes the graph. */
  spec: object
  build: (graph: GraphBuilder) => Promise<void>
}

/** The folder of a checkpoint's compiled graphs. */
export function graphFolder(cacheDir: string, modelDigest: string): string {
  return path.join(cacheDir, 'graphs', `v${GRAPH_VERSION}-${modelDigest.slice(0, 32)}`)
}

/** What is kept of a compiled graph, so that it can be used again without being built. */
interface KnownGraph {
  /** The build of this program that made it. */
  build: string
  digest: string
  /** Names its folder. */
  layout: string
  /** Of the .onnx file. */
  sha256: string
  blobBytes: number
  inputs: Port[]
  outputs: Port[]
}

/** Returns the cached graph, building graph and blob when they are absent or damaged, or of another build. */
export async function compileGraph(request: CompileRequest): Promise<GraphFile> {
  const { precision = 'fp32', tower, modelDigest, spec } = request
  const digest = createHash('sha256')
    .update(JSON.stringify([GRAPH_VERSION, modelDigest, tower, precision, spec]))
    .digest('hex')
  const root = graphFolder(request.cacheDir, modelDigest)
  const name = `${tower}-${digest.slice(0, 16)}`
  const placeOf = (layout: string): Pick<GraphFile, 'path' | 'weights'> => ({
    path: path.join(root, layout, `${name}.onnx`),
    weights: path.join(root, layout, `${tower}${precision === 'fp32' ? '' : `-${precision}`}.weights`),
  })
  const note = path.join(root, `${name}.json`)
  const known = (await readCachedJson(note)) as KnownGraph | undefined
  if (known && known.build === buildId() && known.digest === digest) {
    const place = placeOf(known.layout)
    if (await isIntact(place, known)) return { ...place, digest, inputs: known.inputs, outputs: known.outputs }
  }
  const { GraphBuilder } = await import('./builder.js')
  const graph = new GraphBuilder()
  await request.build(graph)
  const { inputs, outputs, blobBytes } = graph
  const layout = layoutHash(graph.blob)
  const place = placeOf(layout)
  const bytes = await writeGraph(graph, place)
  const build = buildId()
  if (build !== undefined) {
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    const made: KnownGraph = { build, digest, layout, sha256, blobBytes, inputs, outputs }
    await writeCachedJson(note, made)
  }
  return { ...place, digest, inputs, outputs }
}

/** Whether both files of a graph are as they were written. */
async function isIntact(place: Pick<GraphFile, 'path' | 'weights'>, known: KnownGraph): Promise<boolean> {
  const [blob, file] = await Promise.all([
    stat(place.weights).catch(() => undefined),
    readFile(place.path).catch(() => undefined),
  ])
  if (blob?.size !== known.blobBytes || !file) return false
  return createHash('sha256').update(file).digest('hex') === known.sha256
}

/** Brings the graph's files to their place, and returns the bytes of its .onnx. Throws VtpError `cache_unwritable`. */
async function writeGraph(graph: GraphBuilder, place: Pick<GraphFile, 'path' | 'weights'>): Promise<Uint8Array> {
  const bytes = graph.encode(path.basename(place.weights))
  try {
    await ensureBlob(place.weights, graph.blob, graph.blobBytes)
    const cached = await readFile(place.path).catch(() => undefined)
    if (!cached?.equals(bytes)) await writeAtomically(place.path, (tmp) => writeFile(tmp, bytes))
    return bytes
  } catch (error) {
    if (error instanceof VtpError || !systemCode(error)) throw error
    const folder = path.dirname(place.path)
    throw new VtpError(`The compiled model cannot be written to the cache ${folder}: ${(error as Error).message}`, {
      code: 'cache_unwritable',
      suggestions: [
        ...(['ENOSPC', 'EDQUOT'].includes(systemCode(error)!)
          ? [`free at least ${Math.ceil(graph.blobBytes / 2 ** 20)} MiB there`]
          : []),
        'set VTP_CACHE to a folder with room that you may write to',
      ],
      cause: error,
    })
  }
}

/** Graphs that lay their weights out differently never share a blob, whatever their versions say. */
function layoutHash(tensors: BlobTensor[]): string {
  const layout = tensors.map(({ name, dtype, shape, offset }) => [name, dtype, shape, offset])
  return createHash('sha256').update(JSON.stringify(layout)).digest('hex').slice(0, 8)
}

async function ensureBlob(file: string, tensors: BlobTensor[], bytes: number): Promise<void> {
  const there = await stat(file).catch(() => undefined)
  if (there?.size === bytes) return
  await writeAtomically(file, async (tmp) => {
    const handle = await open(tmp, 'w')
    try {
      for (const tensor of tensors) {
        const values = await tensor.make()
        if (values.byteLength !== tensor.bytes) {
          throw new VtpError(`The weight ${tensor.name} has ${values.byteLength} bytes, ${tensor.bytes} were planned`, {
            code: 'graph_bug',
          })
        }
        await writeFully(handle, Buffer.from(values.buffer, values.byteOffset, values.byteLength), tensor.offset)
      }
      await handle.truncate(bytes)
    } finally {
      await handle.close()
    }
  })
}

async function writeFully(handle: Awaited<ReturnType<typeof open>>, data: Buffer, position: number): Promise<void> {
  for (let done = 0; done < data.length; ) {
    const { bytesWritten } = await handle.write(data, done, Math.min(data.length - done, 1 << 28), position + done)
    done += bytesWritten
  }
}

/** Bytes that the cache's compiled graphs take. */
export async function graphCacheBytes(cacheDir: string): Promise<number> {
  let total = 0
  const root = path.join(cacheDir, 'graphs')
  for (const name of await readdir(root, { recursive: true }).catch(() => [])) {
    total += (await stat(path.join(root, name)).catch(() => undefined))?.size ?? 0
  }
  return total
}
