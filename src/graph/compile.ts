/**
 * Compiled graphs in the cache. A tower's weights are written once per checkpoint into one blob, tensor
 * by tensor (memory stays near the largest tensor), in the layout that the graphs use; each graph is a
 * small .onnx file beside it that points into the blob, which ONNX Runtime maps into memory.
 */
import { createHash } from 'node:crypto'
import { open, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { systemCode, VtpError } from '../errors.js'
import { writeAtomically } from '../io/atomic.js'
import { type BlobTensor, GraphBuilder, type Port } from './builder.js'
import type { Precision } from './precision.js'
import { GRAPH_VERSION } from './version.js'

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

/** Returns the cached graph, building graph and blob when they are absent or damaged. */
export async function compileGraph(request: CompileRequest): Promise<GraphFile> {
  const graph = new GraphBuilder()
  await request.build(graph)
  const folder = path.join(graphFolder(request.cacheDir, request.modelDigest), layoutHash(graph.blob))
  const { precision = 'fp32' } = request
  const blobName = `${request.tower}${precision === 'fp32' ? '' : `-${precision}`}.weights`
  const digest = createHash('sha256')
    .update(JSON.stringify([GRAPH_VERSION, request.modelDigest, request.tower, precision, request.spec]))
    .digest('hex')
  const file = path.join(folder, `${request.tower}-${digest.slice(0, 16)}.onnx`)
  const bytes = graph.encode(blobName)
  try {
    await ensureBlob(path.join(folder, blobName), graph.blob, graph.blobBytes)
    const cached = await readFile(file).catch(() => undefined)
    if (!cached?.equals(bytes)) await writeAtomically(file, (tmp) => writeFile(tmp, bytes))
  } catch (error) {
    if (error instanceof VtpError || !systemCode(error)) throw error
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
  return { path: file, weights: path.join(folder, blobName), digest, inputs: graph.inputs, outputs: graph.outputs }
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
