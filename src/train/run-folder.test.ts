import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { usageError } from '../errors.js'
import { trainPlans } from './plan.js'
import { inRunFolder, type RunFolderOptions } from './run-folder.js'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'vtp run folder '))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

const at = (...parts: string[]): string => path.join(dir, ...parts)
const put = (...parts: string[]): string => {
  mkdirSync(path.dirname(at(...parts)), { recursive: true })
  writeFileSync(at(...parts), 'x')
  return at(...parts)
}
const work = (more: Partial<RunFolderOptions>, doing: () => Promise<string> = async () => 'worked'): Promise<string> =>
  inRunFolder(
    {
      ...{ dest: at('run'), overwrite: false, ending: '.pt', sources: [], reads: [], loadPlan: trainPlans.load },
      check: async () => {},
      ...more,
    },
    doing,
  )

it.each([false, true])(
  'a source that is DEST, lies in it or holds it is refused, and stays (--overwrite: %s)',
  async (overwrite) => {
    const shard = put('data', 'part-00000.arrow')
    symlinkSync(at('data'), at('link'))
    for (const [source, dest, code] of [
      ['data', 'data', 'dest_inside_source'],
      ['data', 'link', 'dest_inside_source'],
      ['link', 'data/run/new', 'dest_inside_source'],
      ['data', '.', 'source_inside_dest'],
    ] as const)
      await expect(work({ overwrite, dest: at(dest), sources: [at(source)] })).rejects.toMatchObject({ code })
    expect(existsSync(shard)).toBe(true)
    expect(existsSync(at('data', '_vtp'))).toBe(false)
    expect(await work({ overwrite, dest: at('data 2'), sources: [at('data')] })).toBe('worked')
  },
)

it('--overwrite deletes neither what is read nor anything before the request is checked', async () => {
  const checkpoint = put('run', 'checkpoints', '0000002.pt')
  const log = put('run', 'log.jsonl')
  await expect(work({ overwrite: true, reads: [checkpoint] })).rejects.toMatchObject({ code: 'would_delete' })
  const check = async (): Promise<void> => {
    throw usageError('bad_micro_batch', 'no divisor')
  }
  await expect(work({ overwrite: true, check })).rejects.toMatchObject({ code: 'bad_micro_batch' })
  expect([checkpoint, log].map((file) => existsSync(file))).toEqual([true, true])
  expect(await work({ overwrite: true, reads: [at('elsewhere.pt'), 'nano'] })).toBe('worked')
  expect([checkpoint, log].map((file) => existsSync(file))).toEqual([false, false])
})

it('a folder that holds something and no run is refused, but for what shells and queues write', async () => {
  put('run', 'slurm-12.out')
  put('run', '.DS_Store')
  expect(await work({})).toBe('worked')
  put('run', 'log.jsonl')
  await expect(work({})).rejects.toMatchObject({ code: 'out_not_empty', exitCode: 2 })
})

it('what refuses a request leaves no folders that were not there, and everything that was', async () => {
  const refuse = async (): Promise<never> => {
    throw usageError('bad_micro_batch', 'no divisor')
  }
  await expect(work({ dest: at('new', 'run') }, refuse)).rejects.toMatchObject({ code: 'bad_micro_batch' })
  expect(existsSync(at('new'))).toBe(false)
  const kept = put('there', 'slurm-12.out')
  await expect(work({ dest: at('there') }, refuse)).rejects.toMatchObject({ code: 'bad_micro_batch' })
  expect(readdirSync(at('there'))).toEqual(['slurm-12.out'])
  expect(existsSync(kept)).toBe(true)
  const begun = async (): Promise<never> => {
    put('begun', '_vtp', 'plan.json')
    return refuse()
  }
  await expect(work({ dest: at('begun') }, begun)).rejects.toMatchObject({ code: 'bad_micro_batch' })
  expect(readdirSync(at('begun', '_vtp'))).toEqual(['plan.json'])
})
