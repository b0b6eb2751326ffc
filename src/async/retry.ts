/**
 * Trying again. Whoever asks says what a failure is worth: the time to wait, or nothing when another try is
 * useless. Every repetition of this program goes through here: object storage, the hub and other downloads, images
 * by http, files that wait for a free handle.
 */
import { setTimeout as sleep } from 'node:timers/promises'

export interface RetryOptions {
  /**
   * The milliseconds to wait after the `attempt`-th failure in a row of calls (from 1); undefined gives up with the
   * error. It may throw a better one.
   */
  again(error: unknown, attempt: number): number | undefined | Promise<number | undefined>
  /** Ends the waiting and the tries, with the signal's reason. */
  signal?: AbortSignal
}

export async function retry<T>(work: (attempt: number) => Promise<T>, { again, signal }: RetryOptions): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work(attempt)
    } catch (error) {
      signal?.throwIfAborted()
      const wait = await again(error, attempt)
      if (wait === undefined) throw error
      await sleep(wait, undefined, { signal }).catch(() => {})
      signal?.throwIfAborted()
    }
  }
}

/** Doubles from `firstMs` on, up to `longestMs`. */
export function backoff(attempt: number, firstMs: number, longestMs = Number.POSITIVE_INFINITY): number {
  return Math.min(longestMs, firstMs * 2 ** (attempt - 1))
}

/** Between half the time and all of it: those who failed together do not come back together. */
export function jittered(ms: number): number {
  return ms * (0.5 + Math.random() / 2)
}
