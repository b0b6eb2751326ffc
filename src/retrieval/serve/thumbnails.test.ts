import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { isMissing } from '../open-index.js'
import type { RowReader } from '../row-reader.js'
import type { IndexRow } from '../segments.js'
import { createThumbnails } from './thumbnails.js'

const dir = mkdtempSync(path.join(tmpdir(), 'vtp thumbnails '))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

describe('the picture of an image with a signed address', () => {
  const list = path.join(dir, 'list.txt')
  const row = (uri: string): IndexRow => {
    const at = { kind: 'line' as const, path: list, offset: 0, size: 60 }
    return { key: 'a', uri, label: null, caption: null, width: 1, height: 1, sha256: '', at }
  }
  const get = (uri: string) => createThumbnails({ rows: async () => [row(uri)] } as unknown as RowReader).get(0, 256)

  it('is not said to be a file that is gone, whether its list is there or not', async () => {
    const uri = 'https://images.invalid/a.jpg?sig=…'
    const told = { status: 404, code: 'signature_gone', message: expect.stringMatching(/signature may have expired/) }
    await expect(get(uri)).rejects.toMatchObject(told)
    expect(await isMissing(row(uri))).toBe(false)
    writeFileSync(list, 'https://images.invalid/b.jpg?sig=0123456789abcdef\n')
    await expect(get(uri)).rejects.toMatchObject(told)
  })
})
