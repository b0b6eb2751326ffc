/** The promises that every store keeps, as a test suite: call it from the test file of each store. */
import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import type { Store } from '../../src/io/store.js'

const bytes = (text: string): Uint8Array => Buffer.from(text)
const text = (data: Uint8Array): string => Buffer.from(data).toString()

async function names(store: Store, prefix: string): Promise<string[]> {
  const out: string[] = []
  for await (const entry of store.list(prefix)) out.push(entry.name)
  return out
}

export function describeStore(title: string, open: () => Promise<Store>): void {
  describe(title, () => {
    let store: Store
    beforeEach(async () => {
      store = await open()
    })

    it('gives back what was put, whole and in ranges', async () => {
      await store.put('a/b.txt', bytes('0123456789'))
      expect(text(await store.get('a/b.txt'))).toBe('0123456789')
      expect(text(await store.get('a/b.txt', { offset: 3, size: 4 }))).toBe('3456')
    })

    it('replaces an object as a whole', async () => {
      await store.put('x', bytes('long old content'))
      await store.put('x', bytes('new'))
      expect(text(await store.get('x'))).toBe('new')
    })

    it('says not_found for an object that is not there', async () => {
      await expect(store.get('missing')).rejects.toMatchObject({ code: 'not_found' })
      await expect(store.sha256('missing')).rejects.toMatchObject({ code: 'not_found' })
    })

    it('puts only if absent: the first content stays', async () => {
      expect(await store.putIfAbsent('once', bytes('first'))).toBe(true)
      expect(await store.putIfAbsent('once', bytes('second'))).toBe(false)
      expect(text(await store.get('once'))).toBe('first')
    })

    it('lets exactly one of 16 racing writers win', async () => {
      const results = await Promise.all(
        Array.from({ length: 16 }, (_, i) => store.putIfAbsent('race', bytes(`writer ${i}`))),
      )
      expect(results.filter(Boolean)).toHaveLength(1)
      expect(text(await store.get('race'))).toBe(`writer ${results.indexOf(true)}`)
    })

    it('takes finished files in, from its temporary folder and from elsewhere', async () => {
      const file = path.join(await store.tempDir(), 'part.tmp')
      await writeFile(file, 'content')
      expect(await store.putFile('part', file, { ifAbsent: true })).toBe(true)
      expect(text(await store.get('part'))).toBe('content')
      await writeFile(file, 'other')
      expect(await store.putFile('part', file, { ifAbsent: true })).toBe(false)
      expect(text(await store.get('part'))).toBe('content')
      await writeFile(file, 'kept')
      expect(await store.putFile('part', file, { ifAbsent: false, keep: true })).toBe(true)
      expect(await store.putFile('again', file, { ifAbsent: true })).toBe(true)
      expect(text(await store.get('again'))).toBe('kept')
    })

    it('lists by prefix, in the order of the names, without temporary files', async () => {
      const all = ['a/1', 'a/2', 'a/10', 'a-b', 'ab/c/d', 'b']
      for (const name of all) await store.put(name, bytes(name))
      await writeFile(path.join(await store.tempDir(), 'unfinished'), 'x')
      expect(await names(store, '')).toEqual([...all].sort())
      expect(await names(store, 'a/1')).toEqual(['a/1', 'a/10'])
      expect(await names(store, 'ab/')).toEqual(['ab/c/d'])
      expect(await names(store, 'none/')).toEqual([])
    })

    it('tells names alone, and the size and age of one object', async () => {
      for (const name of ['n/1', 'n/2', 'o']) await store.put(name, bytes(name))
      const found: string[] = []
      for await (const name of store.names('n/')) found.push(name)
      expect(found.sort()).toEqual(['n/1', 'n/2'])
      const info = await store.stat('n/1')
      expect(info?.size).toBe(3)
      expect(Math.abs((info?.modifiedMs ?? 0) - Date.now())).toBeLessThan(60_000)
      expect(await store.stat('n/3')).toBeUndefined()
    })

    it('deletes, also what is not there', async () => {
      await store.put('gone', bytes('x'))
      await store.delete('gone')
      await store.delete('gone')
      expect(await names(store, '')).toEqual([])
    })

    it('hashes objects', async () => {
      await store.put('h', bytes('hash me'))
      expect(await store.sha256('h')).toBe(createHash('sha256').update('hash me').digest('hex'))
    })

    it('keeps names with spaces, unicode and newlines apart', async () => {
      const odd = ['a b', 'ä/ö', 'line\nbreak', '%2e%2e']
      for (const name of odd) await store.put(name, bytes(name))
      for (const name of odd) expect(text(await store.get(name))).toBe(name)
    })

    it('never follows a name out of itself', async () => {
      for (const name of ['../x', 'a/../../x', '', '/../x']) {
        await expect(store.put(name, bytes('x')), name).rejects.toMatchObject({ code: 'bad_name' })
      }
    })
  })
}
