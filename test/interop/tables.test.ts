/** Images of Parquet files as pyarrow and DuckDB write them: every codec and encoding, small pages and large ones. */
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openSource } from '../../src/io/sources/index.js'
import { createRandom, shuffle } from '../../src/math/random.js'
import { type ListingEntry, RejectError } from '../../src/types.js'
import { interopPython, runPython } from './python.js'

const dir = mkdtempSync(path.join(tmpdir(), 'vtp-tables-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

let written: Record<string, (string | null)[]>
beforeAll(async () => {
  written = JSON.parse(await runPython(await interopPython(), 'write_tables.py', [dir])) as typeof written
}, 600_000)

/** SHA-256 of each row's bytes; null for a row without an image. */
async function digests(name: string, inOrder: boolean): Promise<(string | null)[]> {
  const source = await openSource(path.join(dir, name), {})
  try {
    const entries: [number, ListingEntry][] = []
    for await (const entry of source.list()) entries.push([entries.length, entry])
    if (!inOrder) shuffle(entries, createRandom(2))
    const found: (string | null)[] = new Array(entries.length)
    for (const [row, entry] of entries) {
      const bytes = await source.read(entry).catch((error: unknown) => {
        if (error instanceof RejectError && error.code === 'empty') return undefined
        throw error
      })
      found[row] = bytes ? createHash('sha256').update(bytes).digest('hex') : null
    }
    return found
  } finally {
    await source.close()
  }
}

it.each([true, false])('have the bytes that were written (rows in order: %s)', async (inOrder) => {
  expect(Object.keys(written).length).toBeGreaterThan(50)
  for (const [name, expected] of Object.entries(written)) expect(await digests(name, inOrder), name).toEqual(expected)
})
