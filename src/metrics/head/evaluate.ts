/**
 * `vtp eval-head`: images through a model that was fine-tuned as a classifier, ranked by its own logits. This is what
 * "MAE 85.9" measures: the whole network was trained on the labels, so it is no linear probe.
 */
import { usageError } from '../../errors.js'
import {
  type ClassifyRequest,
  type ClassifyResult,
  evaluateClassifier,
  type Ranking,
  TOP,
} from '../classify/evaluate.js'

/** Throws usage errors `no_output` for a model without a head, `no_label`, `classes_mismatch`. */
export function evaluateHead(request: ClassifyRequest): Promise<ClassifyResult> {
  return evaluateClassifier(request, {
    what: 'classification head',
    output: 'logits',
    job: 'probe',
    arithmetic: '',
    needs: 'give a folder of class folders, or a list with labels',
    open(model, set): Ranking {
      const classes = model.outputs(set.transform).find(({ name }) => name === 'logits')!.shape[0]!
      if ((set.classes?.length ?? 0) > classes)
        throw usageError(
          'classes_mismatch',
          `${set.uri} has ${set.classes!.length} classes, ${model.name} knows ${classes}`,
        )
      return {
        names: Array.from({ length: classes }, (_, i) => set.classes?.[i] ?? String(i)),
        decides: {},
        ready: () => (logits, count) =>
          Array.from({ length: count }, (_, i) => best(logits.subarray(i * classes, (i + 1) * classes))),
        description: [
          `the model's own head of ${classes} classes (fine-tuned end to end, no probe); the first of equal logits`,
        ],
        wrongLabel: (label) => `the label ${label}; ${model.name} knows ${classes} classes`,
      }
    },
  })
}

/** Indices of the largest logits, largest first; of equal ones the lower. */
function best(logits: Float32Array): number[] {
  const order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b)
  return order.slice(0, TOP)
}
