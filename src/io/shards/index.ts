/** Shards: writers of one unit's rows, and readers. A new format is one writer in open-writer.ts and one reader in read.ts. */

export { openShardWriter, shardName } from './open-writer.js'
export { findShards, openShard } from './read.js'
export * from './types.js'
