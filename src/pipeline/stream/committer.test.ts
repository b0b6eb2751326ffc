import { createHash } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { openStore } from '../../io/open-store.js'
import type { Store } from '../../io/store.js'
import { type Commit, readCommit, writeCommit } from '../ledger/commits.js'
import { commitName } from '../ledger/layout.js'
import { settleLate, settleReplaced } from '../ledger/parts.js'
import type { EncodedBatch } from './batch.js'
import { createCommitter } from './committer.js'
import { createMeter } from './meter.js'

const NAME = 'part-00000.arrow'
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
const commitOf = (text: string): Commit => ({
  unit: 0,
  plan: 'plan',
  rows: 1,
  rejects: 0,
  files: [{ name: NAME, bytes: text.length, sha256: sha256(text) }],
  moments: null,
  seconds: {},
})

async function openTemp(): Promise<Store> {
  const dir = await mkdtemp(path.join(tmpdir(), 'vtp-committer-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return openStore(dir)
}

/** Commits unit 0 with a part of this content. */
async function commitPart(store: Store, content: string, commitWaitMs: number): Promise<void> {
  const file = path.join(await store.tempDir(), 'finished')
  await writeFile(file, content)
  const widths = { preprocess: 1, encode: 1, write: 1 }
  const committer = createCommitter({
    store,
    run: { plan: 'plan' },
    writer: {
      open: async () => {},
      append: async () => ({ dropped: [], pieces: [] }),
      keep: async () => undefined,
      finish: async () => ({ rows: 1, moments: null, files: [{ ...commitOf(content).files[0]!, path: file }] }),
      abort: async () => {},
      workSeconds: 0,
      close: async () => {},
    },
    meter: createMeter({ total: 1, doneBefore: 0, unitsBefore: 0, unitsTotal: 1, widths }),
    commitWaitMs,
    onCommit: () => {},
  })
  const job = { index: 0, unit: { rows: 1, offset: 0, bytes: 1 }, isolated: false } as EncodedBatch['job']
  const batch = { rows: [], tensors: {} }
  const unit = {
    index: 0,
    attempt: { number: 1, withdraw: async () => {} },
    settle: async () => {},
    pieces: new Set<string>(),
  }
  await committer.write(
    unit,
    { job, start: 0, entries: [], last: true, rows: [], positions: [], rejects: [], batch },
    false,
  )
  await committer.settled()
}

/** The store, in which somebody commits as soon as the commit was looked for and not found. */
function committedWhenMissed(store: Store, commit: Commit): Store {
  return {
    ...store,
    async stat(name) {
      const there = await store.stat(name)
      if (!there && name === commitName(commit.unit)) await writeCommit(store, commit)
      return there
    },
  }
}

const partOf = async (store: Store): Promise<string> => Buffer.from(await store.get(NAME)).toString()

it.each([0, 50])('a part that a dead worker left without a commit is replaced (wait %i ms)', async (wait) => {
  const store = await openTemp()
  await store.put(NAME, Buffer.from('of the dead one'))
  await store.put('_rejects-00000.jsonl', Buffer.from('{}\n'))
  await commitPart(store, 'mine', wait)
  expect(await partOf(store)).toBe('mine')
  expect((await readCommit(store, 0)).files).toEqual(commitOf('mine').files)
  expect(await store.stat('_rejects-00000.jsonl')).toBeUndefined()
})

it('a part whose commit comes while it is waited for stays', async () => {
  const store = await openTemp()
  await store.put(NAME, Buffer.from('theirs'))
  await commitPart(committedWhenMissed(store, commitOf('theirs')), 'mine', 5000)
  expect(await partOf(store)).toBe('theirs')
  expect((await readCommit(store, 0)).files).toEqual(commitOf('theirs').files)
})

it('a sleeper that commits after its part was replaced is set right, by either side', async () => {
  const store = await openTemp()
  await store.put(NAME, Buffer.from('mine'))
  await writeCommit(store, commitOf('sleeper'))
  await settleReplaced(store, commitOf('mine'), false)
  expect((await readCommit(store, 0)).files).toEqual(commitOf('mine').files)
  await settleLate(store, commitOf('sleeper'), 0) // set right already
  expect((await readCommit(store, 0)).files).toEqual(commitOf('mine').files)

  const other = await openTemp()
  await other.put(NAME, Buffer.from('of one that died'))
  await writeCommit(other, commitOf('sleeper'))
  await expect(settleLate(other, commitOf('sleeper'), 0)).rejects.toMatchObject({ code: 'part_conflict' })
  await expect(readCommit(other, 0)).rejects.toMatchObject({ code: 'not_found' })
})
