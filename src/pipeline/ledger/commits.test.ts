import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { expect, it, onTestFinished } from 'vitest'
import { openLocalStore } from '../../io/local-store.js'
import type { Store } from '../../io/store.js'
import { readCommit } from './commits.js'
import { commitName, isDataName, rejectsName, sampleImageName } from './layout.js'

const DATA = [
  'part-00000.arrow',
  'part-123456.parquet',
  'latents_rank00_shard000.safetensors',
  'latents_rank00_shard012.keys.jsonl',
  'img_emb/img_emb_0.npy',
  'text_emb/text_emb_12.npy',
  'metadata/metadata_3.parquet',
  sampleImageName(17),
]
const OTHERS = [
  '../../../home/x/.bashrc',
  '/etc/passwd',
  'img_emb/../../x.npy',
  'img_emb/text_emb_0.npy/../../..',
  'part-00000.arrow/../../x',
  'part-00000.arrow\n',
  'part-00000.arrow\0',
  'C:\\part-00000.arrow',
  rejectsName(0),
  '_vtp/plan.json',
  '_manifest.json',
  '000017.png/..',
  '',
]

async function emptyStore(): Promise<Store> {
  const dir = await mkdtemp(path.join(tmpdir(), 'vtp-commits-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return openLocalStore(dir)
}

const putCommit = (store: Store, name: string): Promise<void> =>
  store.put(
    commitName(0),
    Buffer.from(
      JSON.stringify({
        unit: 0,
        plan: 'x',
        rows: 1,
        rejects: 0,
        files: [{ name, bytes: 1, sha256: '0'.repeat(64) }],
        moments: null,
        seconds: {},
      }),
    ),
  )

it.each(DATA)('a commit may name %j', async (name) => {
  const store = await emptyStore()
  await putCommit(store, name)
  expect((await readCommit(store, 0)).files[0]!.name).toBe(name)
})

it.each(OTHERS)('a commit that names %j is refused, and the message holds no control character', async (name) => {
  const store = await emptyStore()
  await putCommit(store, name)
  const error = await readCommit(store, 0).then(
    () => undefined,
    (thrown: Error) => thrown,
  )
  expect(error?.message).toContain('no run writes a file')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is looked for
  expect(error?.message).not.toMatch(/[\x00-\x1f\x7f-\x9f]/)
})

it('no name that a unit may have leads out of the folder', () => {
  const piece = fc.constantFrom(
    '..',
    '.',
    '/',
    '\\',
    'img_emb',
    'img_emb_0.npy',
    'part-00000.arrow',
    '000001.png',
    '\0',
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 6 }), (pieces) => {
      const name = pieces.join('')
      if (!isDataName(name)) return
      expect(path.posix.normalize(name)).toBe(name)
      expect(name).not.toMatch(/^\/|\.\.|\\|\0/)
    }),
  )
})
