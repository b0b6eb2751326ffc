/** Flags of the commands on what a run has left. */
import { Flags } from '@oclif/core'
import { declareFlags, valueFlag } from './declare.js'
import { parseAge } from './parse.js'

/** Of `vtp gc`. */
export const GC_FLAGS = declareFlags({
  'older-than': valueFlag(parseAge, {
    default: '24h',
    summary: 'Leave files and uploads that are younger: a running worker may need them.',
    helpValue: 'AGE',
  }),
  'dry-run': Flags.boolean({ default: false, summary: 'Only say what would be removed.' }),
})

/** Of `vtp stats`. */
export const STATS_FLAGS = declareFlags({
  out: Flags.string({ char: 'o', summary: 'Folder to write latents_stats.pt to.', helpValue: 'DIR' }),
  'from-shards': Flags.boolean({
    default: false,
    summary: 'Read the latents even where commits hold their statistics.',
  }),
})

/** Of `vtp status`. */
export const STATUS_FLAGS = declareFlags({
  watch: Flags.boolean({ default: false, summary: 'Show it again and again until the run is done.' }),
  every: Flags.integer({ default: 10, min: 1, summary: 'Seconds between two looks.', helpValue: 'SECONDS' }),
})

/** Of `vtp verify`. */
export const VERIFY_FLAGS = declareFlags({
  partial: Flags.boolean({ default: false, summary: 'Accept that units are not committed yet.' }),
  repair: Flags.boolean({
    default: false,
    summary: 'Open units with lost or damaged files again, and change nothing else: the next run does them anew.',
  }),
})
