/** Where paths lead once links are followed, and which lies in which. */
import { realpath, stat } from 'node:fs/promises'
import path from 'node:path'

/** The real path of something that need not exist yet: links of the nearest ancestor that does are followed. */
export async function realTarget(file: string): Promise<string> {
  let existing = path.resolve(file)
  const rest: string[] = []
  while (!(await stat(existing).catch(() => undefined))) {
    rest.unshift(path.basename(existing))
    existing = path.dirname(existing)
  }
  return path.join(await realpath(existing), ...rest)
}

/** Whether a real path is a folder or lies in it. */
export function isWithin(folder: string, file: string): boolean {
  const relative = path.relative(folder, file)
  return relative === '' || !(relative === '..' || relative.startsWith(`..${path.sep}`) || path.isAbsolute(relative))
}
