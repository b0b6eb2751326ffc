/**
 * Sorting more records than fit in memory: sorted runs of bounded size go to temporary files and are
 * merged as streams. Records are byte strings, compared byte by byte.
 */
import { createReadStream } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { makeTempFolder } from './temp-folder.js'

export interface ExternalSorter {
  /** Adds a record; its bytes are kept, not copied. */
  add(record: Buffer): Promise<void>
  /** All records in order. Call once, after the last `add`. */
  sorted(): AsyncIterable<Buffer>
  readonly count: number
  close(): Promise<void>
}

/** At most `runRecords` records are in memory at once (and one per run while merging). */
export function createExternalSorter(runRecords = 50_000, tmpRoot = tmpdir()): ExternalSorter {
  let run: Buffer[] = []
  let count = 0
  let folder: string | undefined
  const files: string[] = []

  const spill = async (): Promise<void> => {
    folder ??= await makeTempFolder('sort', tmpRoot)
    run.sort(Buffer.compare)
    const file = path.join(folder, `run-${files.length}`)
    files.push(file)
    const handle = await open(file, 'wx')
    try {
      for (let at = 0; at < run.length; at += 4096) {
        const parts: Buffer[] = []
        for (const record of run.slice(at, at + 4096)) {
          const length = Buffer.alloc(4)
          length.writeUInt32LE(record.length)
          parts.push(length, record)
        }
        await handle.writeFile(Buffer.concat(parts))
      }
    } finally {
      await handle.close()
    }
    run = []
  }

  return {
    get count() {
      return count
    },
    async add(record) {
      run.push(record)
      count++
      if (run.length >= runRecords) await spill()
    },
    async *sorted() {
      run.sort(Buffer.compare)
      if (files.length === 0) {
        yield* run
        return
      }
      yield* mergeSorted([...files.map(readRun), fromArray(run)])
    },
    async close() {
      run = []
      if (folder) await rm(folder, { recursive: true, force: true })
    },
  }
}

async function* fromArray(records: Buffer[]): AsyncGenerator<Buffer> {
  yield* records
}

async function* readRun(file: string): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0)
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 18 })) {
    rest = rest.length > 0 ? Buffer.concat([rest, chunk as Buffer]) : (chunk as Buffer)
    let at = 0
    while (at + 4 <= rest.length) {
      const end = at + 4 + rest.readUInt32LE(at)
      if (end > rest.length) break
      yield rest.subarray(at + 4, end)
      at = end
    }
    rest = rest.subarray(at)
  }
}

/** Merges sorted streams with a binary heap of their heads. */
async function* mergeSorted(streams: AsyncGenerator<Buffer>[]): AsyncGenerator<Buffer> {
  const heap: { record: Buffer; stream: AsyncGenerator<Buffer> }[] = []
  const less = (a: number, b: number): boolean => Buffer.compare(heap[a]!.record, heap[b]!.record) < 0
  const swap = (a: number, b: number): void => {
    const kept = heap[a]!
    heap[a] = heap[b]!
    heap[b] = kept
  }
  const sink = (start: number): void => {
    for (let i = start; ; ) {
      let least = i
      for (const child of [2 * i + 1, 2 * i + 2]) if (child < heap.length && less(child, least)) least = child
      if (least === i) return
      swap(i, least)
      i = least
    }
  }
  for (const stream of streams) {
    const head = await stream.next()
    if (!head.done) heap.push({ record: head.value, stream })
  }
  for (let i = heap.length >> 1; i >= 0; i--) sink(i)
  while (heap.length > 0) {
    const top = heap[0]!
    yield top.record
    const next = await top.stream.next()
    if (next.done) {
      const last = heap.pop()!
      if (heap.length > 0) heap[0] = last
    } else top.record = next.value
    sink(0)
  }
}
