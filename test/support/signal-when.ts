/**
 * Signals to a run at moments of its work, not of the clock: a run is waited for until its folder shows how far
 * it is, so that it is signalled while it works on any machine, loaded or idle.
 */
import type { ChildProcess } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { random } from './random.js'

const LOOK_EVERY_MS = 4

/** A whole number from `low` to `high`. */
export function randomInteger(low: number, high: number): number {
  return low + Math.floor(random() * (high - low + 1))
}

/**
 * For `onSpawn` of runCli: sends `signal` as soon as `reached`, plus up to `spreadMs` at random, so that the moment
 * within a step of the work is any. Nothing is sent to a run that ends before.
 */
export function signalWhen(signal: NodeJS.Signals, reached: () => boolean, spreadMs = 0) {
  return (child: ChildProcess): void => {
    const runs = (): boolean => child.exitCode === null && child.signalCode === null
    void (async () => {
      while (runs() && !reached()) await sleep(LOOK_EVERY_MS)
      if (spreadMs > 0) await sleep(random() * spreadMs)
      if (runs()) child.kill(signal)
    })()
  }
}

/** The files in a folder whose names match; none while there is no folder. */
export function namesIn(folder: string, pattern: RegExp): string[] {
  try {
    return readdirSync(folder).filter((name) => pattern.test(name))
  } catch {
    return []
  }
}
