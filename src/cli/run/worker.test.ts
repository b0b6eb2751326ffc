import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { resolveWorker } from './worker.js'

type Env = Record<string, string>
const place = (env: Env, index?: number, count?: number): string => {
  const worker = resolveWorker(index, count, env)
  return `${worker.index}/${worker.count} ${worker.from}`
}

describe('a worker finds its place', () => {
  it.each<[string, Env]>([
    ['0/1 alone', {}],
    [
      '2/4 Slurm array',
      { SLURM_ARRAY_TASK_ID: '2', SLURM_ARRAY_TASK_MIN: '0', SLURM_ARRAY_TASK_STEP: '1', SLURM_ARRAY_TASK_COUNT: '4' },
    ],
    [
      '3/4 Slurm array',
      {
        SLURM_ARRAY_TASK_ID: '16',
        SLURM_ARRAY_TASK_MIN: '10',
        SLURM_ARRAY_TASK_STEP: '2',
        SLURM_ARRAY_TASK_COUNT: '4',
      },
    ],
    [
      '7/8 Slurm array and tasks',
      {
        SLURM_ARRAY_TASK_ID: '4',
        SLURM_ARRAY_TASK_MIN: '1',
        SLURM_ARRAY_TASK_STEP: '1',
        SLURM_ARRAY_TASK_COUNT: '4',
        SLURM_PROCID: '1',
        SLURM_NTASKS: '2',
      },
    ],
    ['3/8 Slurm tasks', { SLURM_PROCID: '3', SLURM_NTASKS: '8' }],
    ['5/9 AWS Batch array', { AWS_BATCH_JOB_ARRAY_INDEX: '5', AWS_BATCH_JOB_ARRAY_SIZE: '9' }],
    ['5/9 Google Cloud Batch', { BATCH_TASK_INDEX: '5', BATCH_TASK_COUNT: '9' }],
    ['0/3 Cloud Run job', { CLOUD_RUN_TASK_INDEX: '0', CLOUD_RUN_TASK_COUNT: '3' }],
    ['1/2 SkyPilot', { SKYPILOT_NODE_RANK: '1', SKYPILOT_NUM_NODES: '2' }],
    ['6/16 torchrun', { RANK: '6', WORLD_SIZE: '16' }],
    ['3/8 torchrun', { RANK: '3', WORLD_SIZE: '8', SLURM_PROCID: '0', SLURM_NTASKS: '1' }],
    ['0/1 alone', { RANK: '3' }],
    ['6/16 Slurm tasks', { RANK: '6', WORLD_SIZE: '16', SLURM_PROCID: '6', SLURM_NTASKS: '16' }],
  ])('%s', (expected, env) => {
    expect(place(env)).toBe(expected)
  })

  it('RANK alone means nothing', () => {
    expect(place({ RANK: 'captain' })).toBe('0/1 alone')
  })

  it('flags win over everything, and the count may come by flag where the scheduler does not tell it', () => {
    expect(place({ RANK: '6', WORLD_SIZE: '16' }, 1, 2)).toBe('1/2 flags')
    expect(place({ JOB_COMPLETION_INDEX: '3' }, undefined, 4)).toBe('3/4 Kubernetes Indexed Job')
    expect(place({ SKYPILOT_NODE_RANK: '1', SKYPILOT_NUM_NODES: '2' }, undefined, 2)).toBe('1/2 SkyPilot')
  })

  it('every task of a Slurm array with srun tasks has a place of its own', () => {
    const size = fc.integer({ min: 1, max: 12 })
    fc.assert(
      fc.property(size, size, fc.integer({ min: 0, max: 50 }), size, (array, tasks, min, step) => {
        const seen = new Set<string>()
        for (let a = 0; a < array; a++) {
          for (let t = 0; t < tasks; t++) {
            const worker = resolveWorker(undefined, undefined, {
              SLURM_ARRAY_TASK_ID: String(min + a * step),
              SLURM_ARRAY_TASK_MIN: String(min),
              SLURM_ARRAY_TASK_STEP: String(step),
              SLURM_ARRAY_TASK_COUNT: String(array),
              SLURM_PROCID: String(t),
              SLURM_NTASKS: String(tasks),
            })
            expect(worker.count).toBe(array * tasks)
            seen.add(String(worker.index))
          }
        }
        expect(seen.size).toBe(array * tasks)
      }),
    )
  })
})

describe('contradictions are errors that say what to do', () => {
  it.each<[string, RegExp, Env, number?, number?]>([
    [
      'schedulers that disagree',
      /disagree.*SkyPilot: 1 of 2; torchrun: 5 of 16/,
      { RANK: '5', WORLD_SIZE: '16', SKYPILOT_NODE_RANK: '1', SKYPILOT_NUM_NODES: '2' },
    ],
    [
      'a count that disagrees',
      /--worker-count is 8, but torchrun: 5 of 16/,
      { RANK: '5', WORLD_SIZE: '16' },
      undefined,
      8,
    ],
    ['an index that disagrees', /--worker-index is 1, but/, { JOB_COMPLETION_INDEX: '3' }, 1],
    ['an unknown count', /not of how many/, { JOB_COMPLETION_INDEX: '3' }],
    ['an index without its count', /Cloud Run job .* not of how many/, { CLOUD_RUN_TASK_INDEX: '3' }],
    ['an index beyond the count', /not below/, { RANK: '16', WORLD_SIZE: '16' }],
    [
      'an array with gaps',
      /no place among 3 tasks/,
      { SLURM_ARRAY_TASK_ID: '9', SLURM_ARRAY_TASK_MIN: '1', SLURM_ARRAY_TASK_STEP: '1', SLURM_ARRAY_TASK_COUNT: '3' },
    ],
    ['no number', /RANK is "x"/, { RANK: 'x', WORLD_SIZE: '16' }],
    ['half of a pair of flags', /--worker-index is given without/, {}, 0],
  ])('%s', (_, message, env, index, count) => {
    expect(() => resolveWorker(index, count, env)).toThrow(message)
  })
})
