/** What a run left in DEST, for comparisons between runs. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { openShard } from '../../src/io/shards/index.js'

/** SHA-256 of every file that a reader opens: parts, rejects, manifest, statistics. Not `_vtp/`. */
export function outputHashes(dest: string): Record<string, string> {
  const out: Record<string, string> = {}
  for (const name of readdirSync(dest).sort()) {
    if (name === '_vtp') continue
    out[name] = createHash('sha256')
      .update(readFileSync(path.join(dest, name)))
      .digest('hex')
  }
  return out
}

export interface RejectLine {
  key: string
  uri: string
  stage: string
  code: string
  message: string
}

export function readRejects(dest: string): RejectLine[] {
  return readdirSync(dest)
    .filter((name) => /^_rejects-\d+\.jsonl$/.test(name))
    .sort()
    .flatMap((name) => readFileSync(path.join(dest, name), 'utf8').split('\n').filter(Boolean))
    .map((line) => JSON.parse(line) as RejectLine)
}

/** Keys and labels of all rows, in order. */
export async function readRows(
  dest: string,
): Promise<{ key: string; uri: string; label: number | null; caption: string | null }[]> {
  const rows: { key: string; uri: string; label: number | null; caption: string | null }[] = []
  for (const name of readdirSync(dest).sort()) {
    if (!/^(part-|latents_rank).*\.(arrow|parquet|safetensors)$/.test(name)) continue
    const shard = await openShard(path.join(dest, name))
    for await (const batch of shard.read([], 1000)) {
      rows.push(...batch.rows.map(({ key, uri, label, caption }) => ({ key, uri, label, caption })))
    }
    await shard.close()
  }
  return rows
}

/** The values of one tensor column by key. */
export async function readTensor(dest: string, column: string): Promise<Map<string, number[]>> {
  const out = new Map<string, number[]>()
  for (const name of readdirSync(dest).sort()) {
    if (!/^(part-|latents_rank).*\.(arrow|parquet|safetensors)$/.test(name)) continue
    const shard = await openShard(path.join(dest, name))
    for await (const batch of shard.read([column], 1)) out.set(batch.rows[0]!.key, [...batch.tensors[column]!])
    await shard.close()
  }
  return out
}
