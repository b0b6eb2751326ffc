/** `vtp index` between its flags and the builder. */
import { freemem } from 'node:os'
import { cgroupLimits } from '../../engine/cgroup.js'
import { effectiveCores } from '../../engine/cores.js'
import { buildIndex } from '../../retrieval/build.js'
import type { BuildProgress } from '../../retrieval/build-graph.js'
import { HNSW_DEFAULTS } from '../../retrieval/hnsw.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { INDEX_FLAGS } from '../flags/retrieval-flags.js'
import { formatBytes, formatCount, formatDuration, formatPercent, plural } from '../terminal/format.js'
import { onStopSignals } from '../terminal/signals.js'
import { type ExitReason, endWith } from './exit-reason.js'

export type IndexFlags = FlagValues<typeof INDEX_FLAGS> & { embeddings: string[] }

/** The stable object of `--json`. */
export interface IndexJson {
  rows: number
  added: number
  dim: number
  kind: string
  bytes: number
  seconds: number
  interrupted: boolean
  exitReason: ExitReason
  out: string
}

/** What an HNSW graph may take: most of what is free, within the control group's limit. */
function freeMemory(): number {
  return 0.8 * Math.min(freemem(), cgroupLimits().memoryBytes ?? Number.POSITIVE_INFINITY)
}

export async function runIndexCommand(context: CommandContext, flags: IndexFlags): Promise<IndexJson> {
  const progress = context.terminal
  const stop = onStopSignals(progress.note)
  const onProgress = ({ phase, done, total }: BuildProgress): void => {
    const what = phase === 'copy' ? 'rows read' : 'vectors in the index'
    progress.status(`${formatPercent(done / total)} · ${formatCount(done)}/${formatCount(total)} ${what}`)
  }
  try {
    const result = await buildIndex({
      embeddings: flags.embeddings,
      out: flags.out,
      kind: flags.kind,
      column: flags.column,
      hnsw: {
        ...HNSW_DEFAULTS,
        storage: flags.storage,
        connectivity: flags.connectivity,
        expansionAdd: flags['expansion-add'],
        expansionSearch: flags['expansion-search'],
      },
      threads: flags.workers ?? effectiveCores(),
      append: flags.append,
      modelRef: flags.model,
      memoryBytes: freeMemory(),
      stop: stop.signal,
      onProgress,
      onNote: progress.note,
    })
    const { manifest, added, bytes, seconds, interrupted } = result
    if (interrupted) {
      progress.finish(['Interrupted. Run the same command again to continue.'])
    } else {
      const grown = added < manifest.rows && added > 0 ? ` (${formatCount(added)} of them new)` : ''
      progress.finish([
        `${plural(manifest.rows, 'row')}${grown} × ${manifest.dim} · ${manifest.kind} · ${formatBytes(bytes)} in ${flags.out} · ${formatDuration(seconds)}`,
      ])
    }
    return {
      rows: manifest.rows,
      added,
      dim: manifest.dim,
      kind: manifest.kind,
      bytes,
      seconds: Number(seconds.toFixed(3)),
      interrupted,
      exitReason: endWith(context, interrupted ? 'interrupted' : 'done'),
      out: flags.out,
    }
  } finally {
    stop.release()
    progress.close()
  }
}
