/**
 * What goes wrong in pre-training without an error: collapse of the teacher's targets or of the features, and a
 * contrastive loss that does not learn. Each is told once, with what to try. NaN ends the run elsewhere.
 */
import type { PretrainRecord } from './request.js'

/** Steps that are left to a beginning: the first targets of a fresh head mean nothing. */
const PATIENCE = 300
const WINDOW = 50

interface Alarm {
  code: string
  message: string
  rings(recent: readonly PretrainRecord[], all: readonly PretrainRecord[]): boolean
}

function mean(records: readonly PretrainRecord[], name: string): number | undefined {
  const values = records.map((record) => record[name]).filter((value) => typeof value === 'number')
  return values.length === 0 ? undefined : values.reduce((a, b) => a + b, 0) / values.length
}

const below = (value: number | undefined, bound: number): boolean => value !== undefined && value < bound
const above = (value: number | undefined, bound: number): boolean => value !== undefined && value > bound

/** @param prototypes K of the head; 0 without one. */
function alarmsFor(prototypes: number): Alarm[] {
  const full = Math.log(prototypes)
  return [
    {
      code: 'targets_collapsed',
      message:
        'The teacher’s targets are all but one prototype each (entropy near 0): the self-supervised branch collapses. Raise the teacher temperature, lengthen its warm-up, or take sinkhorn_knopp.',
      rings: (recent) => below(mean(recent, 'target_entropy'), 0.02 * full),
    },
    {
      code: 'targets_uniform',
      message:
        'The teacher’s targets are the same for all prototypes (entropy near log K): the self-supervised branch learns nothing. Lower the teacher temperature, or the learning rate.',
      rings: (recent) => above(mean(recent, 'target_entropy'), 0.99 * full),
    },
    {
      code: 'features_collapsed',
      message:
        'All images have nearly the same CLS token: the features collapse. Lower the learning rate, or give KoLeo more weight.',
      rings: (recent) => below(mean(recent, 'cls_spread'), 0.002),
    },
    {
      code: 'no_learning',
      message:
        'The contrastive loss is where it began: images and captions are not being matched. Look whether captions belong to their images, raise the learning rate, or give larger batches.',
      rings: (recent, all) => {
        const [now, first] = [mean(recent, 'clip'), mean(all.slice(0, 10), 'clip')]
        return now !== undefined && first !== undefined && now > 0.98 * first
      },
    },
  ]
}

/** Gives what is to be told after a step. */
export function createAlarms(prototypes: number) {
  const waiting = alarmsFor(prototypes)
  const rung: string[] = []
  return {
    /** Codes of what was told. */
    rung: rung as readonly string[],
    /** `records` are all lines of the log so far. */
    check(records: readonly PretrainRecord[]): string[] {
      const step = records.at(-1)?.step ?? 0
      if (step < PATIENCE || step % WINDOW !== 0) return []
      const recent = records.slice(-WINDOW)
      const found = waiting.filter((alarm) => alarm.rings(recent, records))
      for (const alarm of found) {
        waiting.splice(waiting.indexOf(alarm), 1)
        rung.push(alarm.code)
      }
      return found.map(({ message }) => message)
    },
  }
}
