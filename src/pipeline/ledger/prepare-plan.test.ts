import { cpSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import type { PlanRequest } from './plan-request.js'
import { preparePlan } from './prepare-plan.js'

const requestOf = (source: string, dest: string, more: Partial<PlanRequest>): PlanRequest => ({
  source,
  dest,
  model: 'nano',
  outputs: ['pixels'],
  layersNorm: true,
  flip: false,
  format: 'arrow',
  dtype: 'float16',
  shardRows: 10,
  precision: 'float32',
  device: 'cpu',
  ...more,
})

it('of workers that list at the same time, the first plan counts, although images came meanwhile', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'vtp-plan-race-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  const source = path.join(dir, 'photos')
  await mkdir(source)
  const request = (out: string, more: Partial<PlanRequest> = {}): PlanRequest =>
    requestOf(source, path.join(dir, out), more)
  await writeFile(path.join(source, '1.jpg'), 'x')
  const first = await preparePlan(request('first'))
  await first.close()
  await writeFile(path.join(source, '2.jpg'), 'x')
  const meanwhile = (out: string) => ({
    onListing: () => cpSync(path.join(dir, 'first'), path.join(dir, out), { recursive: true }),
  })
  const second = await preparePlan(request('second', { shared: true, ...meanwhile('second') }))
  await second.close()
  expect(second.plan.hash).toBe(first.plan.hash)
  expect(second.plan.source.images).toBe(1)
  // Other settings are another run, whoever was first; so is another listing for one that works alone.
  const flipped = request('third', { shared: true, flip: true, ...meanwhile('third') })
  await expect(preparePlan(flipped)).rejects.toMatchObject({ code: 'other_plan' })
  await expect(preparePlan(request('fourth', meanwhile('fourth')))).rejects.toMatchObject({ code: 'other_plan' })
})

it('a listing that is interrupted ends with exit code 4', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'vtp-plan-stop-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  await writeFile(path.join(dir, 'list.txt'), 'a.jpg\n')
  const request = requestOf(path.join(dir, 'list.txt'), path.join(dir, 'out'), { signal: AbortSignal.abort() })
  await expect(preparePlan(request)).rejects.toMatchObject({ code: 'interrupted', exitCode: 4 })
})
