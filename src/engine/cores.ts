/** How many cores this process may use: its CPU affinity, and its control group's quota where there is one. */
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    return undefined
  }
}

/** The quota in cores of cgroup v2 ("max 100000" means none) or v1; undefined without one. */
export function cgroupCores(): number | undefined {
  const v2 = readText('/sys/fs/cgroup/cpu.max')
  const [quota, period] = v2
    ? v2.split(/\s+/).map(Number)
    : [readText('/sys/fs/cgroup/cpu/cpu.cfs_quota_us'), readText('/sys/fs/cgroup/cpu/cpu.cfs_period_us')].map(Number)
  return quota && period && quota > 0 ? quota / period : undefined
}

/** At least 1; a fractional quota is rounded up. */
export function effectiveCores(): number {
  const quota = cgroupCores()
  return Math.max(
    1,
    Math.min(availableParallelism(), quota === undefined ? Number.POSITIVE_INFINITY : Math.ceil(quota)),
  )
}
