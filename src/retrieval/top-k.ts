/** The k best of a stream of scored rows, in a heap whose root is the worst of them. */

export interface Hit {
  /** Row id. */
  row: number
  /** Cosine similarity, −1 to 1. */
  score: number
}

export interface TopK {
  /** Scores of rows `first`, `first + 1`, …; `mask[row]` of 0 leaves a row out, and so does a score of exactly 0 (no embedding). */
  add(scores: Float32Array, first: number, mask?: Uint8Array): void
  /** Best first; equal scores in the order of the rows. */
  hits(): Hit[]
}

/** Whether a is worse than b. */
function worse(a: Hit, b: Hit): boolean {
  return a.score < b.score || (a.score === b.score && a.row > b.row)
}

export function createTopK(k: number): TopK {
  const heap: Hit[] = []
  const siftDown = (): void => {
    for (let at = 0; ; ) {
      const left = 2 * at + 1
      if (left >= heap.length) return
      const child = left + 1 < heap.length && worse(heap[left + 1]!, heap[left]!) ? left + 1 : left
      if (!worse(heap[child]!, heap[at]!)) return
      ;[heap[at], heap[child]] = [heap[child]!, heap[at]!]
      at = child
    }
  }
  const push = (hit: Hit): void => {
    heap.push(hit)
    for (let at = heap.length - 1; at > 0; ) {
      const parent = (at - 1) >> 1
      if (!worse(heap[at]!, heap[parent]!)) return
      ;[heap[at], heap[parent]] = [heap[parent]!, heap[at]!]
      at = parent
    }
  }
  return {
    add(scores, first, mask) {
      if (k === 0) return
      let limit = heap.length < k ? Number.NEGATIVE_INFINITY : heap[0]!.score
      for (let i = 0; i < scores.length; i++) {
        const score = scores[i]!
        // Rows come in ascending order, so an equal score is never better than what is there.
        if (!(score > limit) || score === 0) continue
        const row = first + i
        if (mask && mask[row] === 0) continue
        if (heap.length < k) {
          push({ row, score })
          if (heap.length === k) limit = heap[0]!.score
          continue
        }
        heap[0] = { row, score }
        siftDown()
        limit = heap[0]!.score
      }
    },
    hits: () => [...heap].sort((a, b) => b.score - a.score || a.row - b.row),
  }
}
