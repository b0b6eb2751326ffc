/**
 * Which of how many workers this process is: flags (or `VTP_WORKER_INDEX`/`VTP_WORKER_COUNT`, as every flag
 * has its variable), else what the scheduler that started it says. Schedulers that contradict each other,
 * or a flag, are an error: two workers that take themselves for the same one would only do double work, but
 * a slice that nobody takes is done by helpers alone.
 */
import { usageError } from '../../errors.js'

export interface WorkerPlace {
  index: number
  count: number
  /** Where the numbers came from, for people. */
  from: string
}

/** What one scheduler says; Kubernetes does not tell the count. */
export interface DetectedPlace {
  from: string
  index: number
  count?: number
}

type Env = Record<string, string | undefined>

function whole(env: Env, name: string): number | undefined {
  const text = env[name]
  if (text === undefined || text === '') return undefined
  if (!/^\d+$/.test(text))
    throw usageError('bad_worker', `${name} is "${text.slice(0, 40)}", no whole number`, [
      'give --worker-index and --worker-count',
    ])
  return Number(text)
}

/** Slurm: tasks of a job array, times the tasks that srun starts in each. */
function detectSlurm(env: Env): DetectedPlace | undefined {
  const id = whole(env, 'SLURM_ARRAY_TASK_ID')
  const rank = whole(env, 'SLURM_PROCID') ?? 0
  const tasks = (env.SLURM_PROCID ? (whole(env, 'SLURM_NTASKS') ?? whole(env, 'SLURM_NPROCS')) : undefined) ?? 1
  if (id === undefined) {
    return env.SLURM_PROCID ? { from: 'Slurm tasks', index: rank, count: tasks } : undefined
  }
  const min = whole(env, 'SLURM_ARRAY_TASK_MIN') ?? 0
  const step = Math.max(1, whole(env, 'SLURM_ARRAY_TASK_STEP') ?? 1)
  const arrayCount = whole(env, 'SLURM_ARRAY_TASK_COUNT')
  const place = (id - min) / step
  if (!Number.isInteger(place) || place < 0 || (arrayCount !== undefined && place >= arrayCount)) {
    throw usageError(
      'bad_worker',
      `SLURM_ARRAY_TASK_ID ${id} has no place among ${arrayCount ?? '?'} tasks from ${min} in steps of ${step}`,
      ['submit an array without gaps, e.g. --array=0-15', 'or give --worker-index and --worker-count'],
    )
  }
  return {
    from: tasks > 1 ? 'Slurm array and tasks' : 'Slurm array',
    index: place * tasks + rank,
    count: arrayCount === undefined ? undefined : arrayCount * tasks,
  }
}

const PAIRS: [from: string, index: string, count: string | undefined][] = [
  ['Kubernetes Indexed Job', 'JOB_COMPLETION_INDEX', undefined],
  ['AWS Batch array', 'AWS_BATCH_JOB_ARRAY_INDEX', 'AWS_BATCH_JOB_ARRAY_SIZE'],
  ['Google Cloud Batch', 'BATCH_TASK_INDEX', 'BATCH_TASK_COUNT'],
  ['Cloud Run job', 'CLOUD_RUN_TASK_INDEX', 'CLOUD_RUN_TASK_COUNT'],
  ['SkyPilot', 'SKYPILOT_NODE_RANK', 'SKYPILOT_NUM_NODES'],
  ['torchrun', 'RANK', 'WORLD_SIZE'],
]

/**
 * What the environment says, one entry per scheduler that is there. Throws usage errors for nonsense. A
 * scheduler that started one task (a plain Slurm job, say) says nothing where another, or a flag, says more.
 */
export function detectWorkers(env: Env): DetectedPlace[] {
  const found: DetectedPlace[] = []
  const slurm = detectSlurm(env)
  if (slurm) found.push(slurm)
  for (const [from, indexName, countName] of PAIRS) {
    // RANK is too common a name to mean anything without WORLD_SIZE.
    if (from === 'torchrun' && !env.WORLD_SIZE) continue
    const index = whole(env, indexName)
    const count = countName ? whole(env, countName) : undefined
    if (index === undefined) continue
    found.push({ from, index, count })
  }
  return found.filter((place) => place.count !== 1 || place.index !== 0)
}

function checked(index: number, count: number, from: string): WorkerPlace {
  if (index >= count) {
    throw usageError('bad_worker', `The worker index ${index} (${from}) is not below the count ${count}`, [
      `indices run from 0 to ${count - 1}`,
    ])
  }
  return { index, count, from }
}

const describe = ({ from, index, count }: DetectedPlace): string => `${from}: ${index} of ${count ?? '?'}`

export function resolveWorker(
  index: number | undefined,
  count: number | undefined,
  env: Env = process.env,
): WorkerPlace {
  if (index !== undefined && count !== undefined) return checked(index, count, 'flags')
  const found = detectWorkers(env)
  const [first] = found
  const other = found.find(
    (place) => place.index !== first?.index || (place.count ?? first?.count) !== (first?.count ?? place.count),
  )
  if (first && other) {
    throw usageError('worker_disagreement', `Schedulers disagree on this worker: ${found.map(describe).join('; ')}`, [
      'give --worker-index and --worker-count',
    ])
  }
  if (!first) {
    if (index === undefined && count === undefined) return { index: 0, count: 1, from: 'alone' }
    const [given, missing] = index === undefined ? ['count', 'index'] : ['index', 'count']
    throw usageError('bad_worker', `--worker-${given} is given without --worker-${missing}`, [
      'give both, e.g. --worker-index 0 --worker-count 4',
    ])
  }
  const known = found.find((place) => place.count !== undefined)?.count
  if (index !== undefined && index !== first.index) {
    throw usageError('worker_disagreement', `--worker-index is ${index}, but ${describe(first)}`, [
      'leave --worker-index out, or give both --worker-index and --worker-count',
    ])
  }
  if (count !== undefined && known !== undefined && count !== known) {
    throw usageError('worker_disagreement', `--worker-count is ${count}, but ${describe(first)}`, [
      'leave --worker-count out, or give both --worker-index and --worker-count',
    ])
  }
  const total = count ?? known
  if (total === undefined) {
    throw usageError('bad_worker', `${first.from} says that this is worker ${first.index}, but not of how many`, [
      'give --worker-count, e.g. the number of completions of the job (or set VTP_WORKER_COUNT)',
    ])
  }
  return checked(first.index, total, first.from)
}
