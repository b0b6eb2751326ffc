/** Finds out whether a store keeps the promise that several workers rely on: put-if-absent. */
import { randomUUID } from 'node:crypto'
import { usageError } from '../errors.js'
import type { Store } from './store.js'

/** Whether the store refuses to write over an object when it is asked to. Leaves nothing behind. */
export async function honoursConditions(store: Store): Promise<boolean> {
  const name = `_vtp/probe-${randomUUID()}`
  try {
    if (!(await store.putIfAbsent(name, Buffer.from('first\n')))) return false
    const second = await store.putIfAbsent(name, Buffer.from('second\n'))
    return !second && Buffer.from(await store.get(name)).toString() === 'first\n'
  } finally {
    await store.delete(name)
  }
}

/** Throws usage error `store_ignores_conditions` when several workers could write over each other's output. */
export async function assertConditionalWrites(store: Store): Promise<void> {
  if (await honoursConditions(store)) return
  throw usageError(
    'store_ignores_conditions',
    `${store.uri}: this store ignores conditional writes (If-None-Match: *), so several workers could write over each other's output`,
    [
      'use one worker only',
      'use a store that honours them: AWS S3, Google Cloud Storage (XML API), MinIO, Ceph, Cloudflare R2, versitygw',
    ],
  )
}
