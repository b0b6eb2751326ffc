/**
 * One evaluation of the diffusion transformer for a batch of samples: composes the rows of the graph's batch
 * (graph.ts), conditional ones first, then an unconditional one for every sample that is guided at its time.
 */
import type { RunResult, Session, TensorValue } from '../engine/session.js'

export interface Guidance {
  /** 1 is no guidance. */
  scale: number
  /** Below this time the conditional output is taken as it is. */
  intervalStart: number
  /** The row of the label table for "no class". */
  nullLabel: number
}

/** A batch of N samples. `t` and `dt` have one value per sample. */
export interface DitBatch {
  /** [N, C, H, W]. Its buffer moves to the engine and is gone afterwards. */
  x: Float32Array
  labels: readonly number[]
  t: readonly number[]
  dt?: readonly number[]
}

export type DitOutput = 'next' | 'velocity' | 'velocity_null'

export interface DitModel {
  /** [C, H, W]. */
  readonly shape: readonly [number, number, number]
  readonly guidance: Guidance | undefined
  /** Number of rows that the transformer has computed, guidance included. */
  readonly rowsComputed: number
  evaluate(batch: DitBatch, outputs: DitOutput[]): Promise<Record<string, Float32Array>>
}

/** Rows of the transformer's batch and where each sample finds its own among them. */
export interface RowPlan {
  rows: number[]
  labels: number[]
  uncond: number[]
  pair: number[]
}

/** `all` gives every sample an unconditional row, whether or not guidance needs it at its time. */
export function planRows(
  labels: readonly number[],
  t: readonly number[],
  guidance: Guidance | undefined,
  all: boolean,
): RowPlan {
  const plan: RowPlan = { rows: [...labels.keys()], labels: [...labels], uncond: [], pair: [] }
  // The reference compares a float32 time with the number rounded to float32.
  const start = Math.fround(guidance?.intervalStart ?? 0)
  labels.forEach((_, sample) => {
    const guided = guidance !== undefined && !(t[sample]! < start)
    let row = sample
    if (guidance && (guided || all)) {
      row = plan.rows.length
      plan.rows.push(sample)
      plan.labels.push(guidance.nullLabel)
    }
    plan.uncond.push(guided ? row : sample)
    plan.pair.push(row)
  })
  return plan
}

const integers = (values: readonly number[]): TensorValue => ({
  data: BigInt64Array.from(values, BigInt),
  dtype: 'int64',
  dims: [values.length],
})
const floats = (values: readonly number[]): TensorValue => ({
  data: Float32Array.from(values),
  dtype: 'float32',
  dims: [values.length],
})

export function createDitModel(
  session: Pick<Session, 'run'>,
  shape: readonly [number, number, number],
  guidance: Guidance | undefined,
): DitModel {
  const model = {
    shape,
    guidance,
    rowsComputed: 0,
    async evaluate({ x, labels, t, dt }: DitBatch, outputs: DitOutput[]): Promise<Record<string, Float32Array>> {
      const count = labels.length
      const plan = planRows(labels, t, guidance, outputs.includes('velocity_null'))
      model.rowsComputed += plan.rows.length
      const feeds: Record<string, TensorValue> = {
        x: { data: x, dtype: 'float32', dims: [count, ...shape] },
        t: floats(t),
        dt: floats(dt ?? t.map(() => 0)),
        scale: floats(labels.map(() => guidance?.scale ?? 1)),
        labels: integers(plan.labels),
        rows: integers(plan.rows),
        cond: integers([...labels.keys()]),
        uncond: integers(plan.uncond),
        pair: integers(plan.pair),
      }
      const result: RunResult = await session.run(feeds, outputs)
      return Object.fromEntries(outputs.map((name) => [name, result.outputs[name]!.data as Float32Array]))
    },
  }
  return model
}
