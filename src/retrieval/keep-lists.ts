/**
 * Which rows of an index stay when near-duplicates go, as lines of a list that is a SOURCE of `vtp encode`. Of each
 * group the largest image stays, of equals the first.
 */
import path from 'node:path'
import { usageError } from '../errors.js'
import type { DuplicateGroup } from './duplicates.js'
import type { OpenIndex } from './open-index.js'
import type { IndexRow } from './segments.js'

/** Rows that go: all of each group but its largest image. */
export async function rowsToRemove(index: OpenIndex, groups: readonly DuplicateGroup[]): Promise<Set<number>> {
  const remove = new Set<number>()
  for (const { rows: ids } of groups) {
    const pixels = (await index.reader.rows(ids)).map(({ width, height }) => width * height)
    const best = pixels.indexOf(Math.max(...pixels))
    for (const [i, id] of ids.entries()) if (i !== best) remove.add(id)
  }
  return remove
}

/** Whether a list can name the row: what lies inside an archive or a table is no file of its own. */
export function isListable({ at, uri }: IndexRow): boolean {
  return at === undefined ? !/\.(tar|tgz|gz|parquet|arrow|npz)#/i.test(uri) : at.kind === 'file'
}

/**
 * The line of a row. In a `.jsonl` file it has uri, key, label and caption, labels with their names where there are
 * names; in any other a path. Throws usage error `list_line` for a path that the list cannot hold.
 */
export function listLine(file: string, row: IndexRow, classes: readonly string[] | null): string | Buffer {
  const { key, uri, label, caption, at } = row
  const raw = at?.kind === 'file' && at.bytes !== undefined ? Buffer.from(at.bytes, 'base64') : undefined
  if (/\.(jsonl|ndjson)$/i.test(file)) {
    if (raw) throw unfit(file, uri, '.txt: JSON holds no name that is not UTF-8')
    const labelled = label === null ? {} : { label: classes?.[label] ?? label }
    return `${JSON.stringify({ uri, key, ...labelled, ...(caption === null ? {} : { caption }) })}\n`
  }
  if (/[\r\n]/.test(uri) || uri.trim() !== uri) throw unfit(file, uri, '.jsonl')
  return raw ? Buffer.concat([raw, Buffer.from('\n')]) : `${uri}\n`
}

function unfit(file: string, uri: string, better: string): Error {
  return usageError('list_line', `A line of ${path.basename(file)} cannot hold the path ${JSON.stringify(uri)}`, [
    `give the list a name that ends in ${better}`,
  ])
}
