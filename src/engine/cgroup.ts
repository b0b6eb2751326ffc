/**
 * Limits of this process's control group (containers, Slurm, systemd): CPU time and memory, version 2 and
 * version 1. A limit may sit on any group between this process and the root, so the smallest counts.
 * Inside a container the paths of /proc/self/cgroup may not exist: then the mounted root is the group.
 */
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'

export interface CgroupLimits {
  /** CPU quota in cores; fractions are possible. */
  cores?: number
  memoryBytes?: number
}

export interface CgroupRoots {
  /** /proc/self/cgroup */
  self: string
  /** /sys/fs/cgroup */
  mount: string
}

const ROOTS: CgroupRoots = { self: '/proc/self/cgroup', mount: '/sys/fs/cgroup' }

/** Version 1 writes "no limit" as a number near 2^63. */
const UNLIMITED = 2 ** 60

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    return undefined
  }
}

/** The folders of a group and of those above it that exist, innermost first. */
function folders(base: string, group: string): string[] {
  const found: string[] = []
  for (let at = group; ; at = path.dirname(at)) {
    const folder = path.join(base, at)
    if (existsSync(folder)) found.push(folder)
    if (at === '/' || at === '.') return found
  }
}

function least(values: (number | undefined)[]): number | undefined {
  const known = values.filter((value): value is number => value !== undefined && value > 0 && value < UNLIMITED)
  return known.length > 0 ? Math.min(...known) : undefined
}

function quota(limit: string | undefined, period: string | undefined): number | undefined {
  const cores = Number(limit) / Number(period)
  return cores > 0 && Number.isFinite(cores) ? cores : undefined
}

/** Limits that hold for this process; a field is absent where there is none. */
export function cgroupLimits({ self, mount }: CgroupRoots = ROOTS): CgroupLimits {
  // Lines are "number:controllers:path"; version 2 has number 0 and no controllers.
  const groups = new Map<string, string>()
  for (const line of (readText(self) ?? '').split('\n')) {
    const [, controllers, ...rest] = line.split(':')
    if (controllers === undefined) continue
    for (const name of controllers.split(',')) groups.set(name, rest.join(':'))
  }
  const v2 = [mount, path.join(mount, 'unified')].flatMap((base) => folders(base, groups.get('') ?? '/'))
  const v1 = (controller: string): string[] =>
    [controller, 'cpu,cpuacct']
      .filter((name) => name.includes(controller))
      .flatMap((name) => {
        return folders(path.join(mount, name), groups.get(controller) ?? '/')
      })
  const cores = least([
    ...v2.map((folder) => {
      const [limit, period] = (readText(path.join(folder, 'cpu.max')) ?? '').split(/\s+/)
      return quota(limit, period)
    }),
    ...v1('cpu').map((folder) => {
      return quota(readText(path.join(folder, 'cpu.cfs_quota_us')), readText(path.join(folder, 'cpu.cfs_period_us')))
    }),
  ])
  const memoryBytes = least([
    ...v2.map((folder) => number(readText(path.join(folder, 'memory.max')))),
    ...v1('memory').map((folder) => number(readText(path.join(folder, 'memory.limit_in_bytes')))),
  ])
  return { ...(cores === undefined ? {} : { cores }), ...(memoryBytes === undefined ? {} : { memoryBytes }) }
}

function number(text: string | undefined): number | undefined {
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined
}
