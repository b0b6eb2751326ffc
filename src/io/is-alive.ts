import { systemCode } from '../errors.js'

/** Whether a process of this machine runs; another user's counts, too. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return systemCode(error) === 'EPERM'
  }
}
