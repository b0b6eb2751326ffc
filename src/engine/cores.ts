/** How many cores this process may use: its CPU affinity, and its control group's quota where there is one. */
import { availableParallelism } from 'node:os'
import { cgroupLimits } from './cgroup.js'

/** At least 1; a fractional quota is rounded up. */
export function effectiveCores(): number {
  const quota = cgroupLimits().cores ?? Number.POSITIVE_INFINITY
  return Math.max(1, Math.min(availableParallelism(), Math.ceil(quota)))
}
