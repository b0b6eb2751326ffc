/**
 * Where the encoder spends its time: ONNX Runtime's profiler, summed by operator and shapes, and how fast products
 * of the encoder's shapes are by themselves.
 *
 *   npx tsx bench/profile.ts [--shape S|B|L | --model DIR] [--precision fp32|int8] [--batch N] [--products]
 *
 * --products leaves the encoder out and takes turns between products: their best and median rates.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { effectiveCores } from '../src/engine/cores.js'
import { overflowsInt8 } from '../src/engine/int8-kernels.js'
import * as ort from '../src/engine/runtime.js'
import { GraphBuilder } from '../src/graph/builder.js'
import { openModel, type Precision } from '../src/model/index.js'
import { interleave, median, printTable } from './support/measure.js'
import { randomCheckpoint, type ShapeName } from './support/random-checkpoint.js'

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    shape: { type: 'string', default: 'B' },
    precision: { type: 'string', default: 'fp32' },
    batch: { type: 'string', default: '4' },
    products: { type: 'boolean', default: false },
  },
})
const RUNS = 5
const session = { x64quantprecision: (await overflowsInt8()) ? '1' : '0', intra_op: { allow_spinning: '0' } }
const options = { intraOpNumThreads: effectiveCores(), interOpNumThreads: 1, extra: { session } }

interface ProfileEvent {
  cat: string
  name: string
  dur: number
  args: {
    op_name: string
    input_type_shape?: Record<string, number[]>[]
    output_type_shape?: Record<string, number[]>[]
  }
}

async function profileEncoder(): Promise<void> {
  const root = path.join(tmpdir(), 'vtp-bench-models')
  const model = await openModel(values.model ?? (await randomCheckpoint(root, values.shape as ShapeName)))
  const size = model.imageSize.height
  const graph = await model.compileEncoder({
    height: size,
    width: size,
    outputs: ['latents'],
    dtype: 'float16',
    precision: values.precision as Precision,
    device: 'cpu',
  })
  await model.close()
  const folder = mkdtempSync(path.join(tmpdir(), 'vtp-profile-'))
  const profiled = { ...options, enableProfiling: true, profileFilePrefix: path.join(folder, 'run') }
  const run = await ort.InferenceSession.create(graph.path, profiled)
  const batch = Number(values.batch)
  const pixels = Uint8Array.from({ length: batch * size * size * 3 }, (_, i) => Math.imul(i, 2654435761) >>> 24)
  for (let i = 0; i < RUNS; i++) await run.run({ pixels: new ort.Tensor('uint8', pixels, [batch, size, size, 3]) })
  run.endProfiling()
  await run.release()
  const events = JSON.parse(readFileSync(path.join(folder, readdirSync(folder)[0]!), 'utf8')) as ProfileEvent[]
  rmSync(folder, { recursive: true })
  const times = new Map<string, number>()
  const shapes = (list: Record<string, number[]>[] = []): string =>
    list.flatMap((port) => Object.values(port).map((dims) => dims.join('×'))).join(', ')
  for (const { cat, name, dur, args } of events) {
    if (cat !== 'Node' || !name.endsWith('_kernel_time')) continue
    const key = `${args.op_name} ${shapes(args.input_type_shape?.slice(0, 2))} → ${shapes(args.output_type_shape)}`
    times.set(key, (times.get(key) ?? 0) + dur / 1000 / RUNS)
  }
  const total = [...times.values()].reduce((a, b) => a + b, 0)
  printTable(
    `${model.name}, ${values.precision}, batch ${batch}: ${total.toFixed(0)} ms in operators per run, mean of ${RUNS}`,
    [...times]
      .sort((a, b) => b[1] - a[1])
      .slice(0, 20)
      .map(([name, ms]) => [name, `${ms.toFixed(1)} ms  ${((100 * ms) / total).toFixed(1)} %`]),
  )
}

/** Rows × inner × outer, with and without a bias: q, k or v; all three; one and both up products; the down product. */
async function timeProducts(): Promise<void> {
  const rows = 257 * Number(values.batch)
  const contenders: Record<string, () => Promise<number>> = {}
  for (const [inner, outer] of [
    [768, 768],
    [768, 2304],
    [768, 2048],
    [768, 4096],
    [2048, 768],
  ] as const) {
    for (const type of ['MatMul', 'Gemm']) {
      const graph = new GraphBuilder()
      const x = graph.input({ name: 'x', dtype: 'float32', shape: ['N', inner] })
      const weight = graph.constant(
        new Float32Array(inner * outer).map((_, i) => Math.sin(i)),
        [inner, outer],
      )
      const bias = type === 'Gemm' ? [graph.constant(new Float32Array(outer).fill(1), [outer])] : []
      // One row comes out, so that handing it over costs nothing.
      const first = graph.op('Slice', [graph.op(type, [x, weight, ...bias]), graph.ints([0]), graph.ints([1])])
      graph.output(first, { name: 'y', dtype: 'float32', shape: ['n', outer] })
      const product = await ort.InferenceSession.create(graph.encode(''), options)
      const data = new Float32Array(rows * inner).map((_, i) => Math.cos(i))
      const feeds = { x: new ort.Tensor('float32', data, [rows, inner]) }
      await product.run(feeds)
      contenders[`${type} ${rows}×${inner}×${outer}`] = async () => {
        const began = performance.now()
        await product.run(feeds)
        return (2 * rows * inner * outer) / (performance.now() - began) / 1e6
      }
    }
  }
  const results = await interleave(40, contenders)
  printTable(
    'products, G operations per second',
    Object.entries(results).map(([name, rates]) => [
      name,
      `best ${Math.max(...rates).toFixed(0)}, median ${median(rates).toFixed(0)}`,
    ]),
  )
}

await (values.products ? timeProducts() : profileEncoder())
