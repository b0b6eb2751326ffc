/**
 * Given batches instead of draws, for comparisons with other programs: a file of tensors `stepN.x1`, `.x0`, `.t` and
 * `.y_effective` (else `.y`), N from 0 over the whole training; with several processes `stepN.rankR.x1` and so on, which
 * are joined in the order of the ranks. Latents are taken as they are.
 */
import { usageError } from '../errors.js'
import { openTensorFile, type TensorFile } from '../io/tensor-file.js'
import type { BatchSource } from './source.js'
import { assertTensorFile } from './tensor-file-given.js'

const PARTS = ['x1', 'x0', 't'] as const

/** Opens a replay. Throws usage errors `bad_replay` and those of the file's reader. */
export async function openReplay(file: string): Promise<BatchSource> {
  await assertTensorFile(file, 'replay_missing', `--replay ${file}`)
  const tensors = await openTensorFile(file)
  try {
    const steps = stepsOf(tensors)
    const first = steps.values().next().value
    if (first === undefined)
      throw usageError('bad_replay', `${file} holds no batches: it has no tensor such as step0.x1`, [
        'give a file with stepN.x1, stepN.x0, stepN.t and stepN.y_effective',
      ])
    const shape = tensors.shapes.get(`${first[0]}.x1`)!.slice(1)
    if (shape.length !== 3 || shape[1] !== shape[2])
      throw usageError('bad_replay', `${file}: x1 is [B,${shape}]; [B,C,S,S] was expected`)
    const batch = first.reduce((sum, prefix) => sum + tensors.shapes.get(`${prefix}.x1`)![0]!, 0)
    check(file, tensors, steps, shape, batch)
    const most = Math.max(...(await Promise.all([...steps.values()].flat().map((p) => labelsOf(tensors, p)))).flat())
    return {
      shape: shape as [number, number, number],
      batch,
      rows: undefined,
      largestLabel: most,
      has: (step) => steps.has(step - 1),
      async read(step) {
        const prefixes = steps.get(step - 1)!
        const join = async (name: string): Promise<Float32Array> => {
          const parts = await Promise.all(prefixes.map((prefix) => tensors.readFloat32(`${prefix}.${name}`)))
          if (parts.length === 1) return Float32Array.from(parts[0]!)
          return Float32Array.from(parts.flatMap((part) => [...part]))
        }
        const labels = (await Promise.all(prefixes.map((prefix) => labelsOf(tensors, prefix)))).flat()
        const [x1, x0, t] = [await join('x1'), await join('x0'), await join('t')]
        return { x1, x0, t, labels: BigInt64Array.from(labels, BigInt) }
      },
      keys: async (step, samples) => samples.map((sample) => `step${step - 1}, sample ${sample} of ${file}`),
      close: () => tensors.close(),
    }
  } catch (error) {
    await tensors.close()
    throw error
  }
}

/** Prefixes of the batches of every step: `step0`, or `step0.rank0`, `step0.rank1`, … */
function stepsOf({ shapes }: TensorFile): Map<number, string[]> {
  const found = new Map<number, { prefix: string; rank: number }[]>()
  for (const name of shapes.keys()) {
    const match = /^(step(\d+)(?:\.rank(\d+))?)\.x1$/.exec(name)
    if (!match) continue
    const step = Number(match[2])
    found.set(step, [...(found.get(step) ?? []), { prefix: match[1]!, rank: Number(match[3] ?? 0) }])
  }
  const sorted = [...found].sort(([a], [b]) => a - b)
  return new Map(
    sorted.map(([step, ranks]) => [step, ranks.sort((a, b) => a.rank - b.rank).map(({ prefix }) => prefix)]),
  )
}

const labelName = ({ shapes }: TensorFile, prefix: string): string =>
  shapes.has(`${prefix}.y_effective`) ? `${prefix}.y_effective` : `${prefix}.y`

const labelsOf = (tensors: TensorFile, prefix: string): Promise<number[]> =>
  tensors.readIntegers(labelName(tensors, prefix))

function check(
  file: string,
  tensors: TensorFile,
  steps: Map<number, string[]>,
  shape: readonly number[],
  batch: number,
): void {
  for (const [step, prefixes] of steps) {
    let samples = 0
    for (const prefix of prefixes) {
      const rows = tensors.shapes.get(`${prefix}.x1`)![0]!
      samples += rows
      const wanted: [string, readonly number[]][] = PARTS.map((part) => [
        `${prefix}.${part}`,
        part === 't' ? [rows] : [rows, ...shape],
      ])
      for (const [name, expected] of [...wanted, [labelName(tensors, prefix), [rows]] as const]) {
        const there = tensors.shapes.get(name)
        if (there?.join() === expected.join()) continue
        throw usageError(
          'bad_replay',
          `${file}: ${name} is ${there ? `[${there}]` : 'missing'}; [${expected}] was expected`,
        )
      }
    }
    if (samples === batch) continue
    throw usageError('bad_replay', `${file}: step${step} has ${samples} samples, the steps before it ${batch}`)
  }
}
