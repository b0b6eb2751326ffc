/** Programs that tests run beside ours. Where there are none and packages may be installed (root on Debian), Debian's are. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'

function onPath(names: string[]): string | undefined {
  const folders = (process.env.PATH ?? '').split(path.delimiter)
  return folders.flatMap((folder) => names.map((name) => path.join(folder, name))).find((file) => existsSync(file))
}

function install(name: string): void {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  execFileSync('apt-get', ['update', '-qq'], { env })
  execFileSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', name], { env })
}

/** The path of the first program found. Throws `why` and how to install it. */
export function findProgram(names: string[], wanted: { package: string; why: string }): string {
  const found = onPath(names)
  if (found) return found
  if (process.getuid?.() === 0 && onPath(['apt-get'])) install(wanted.package)
  const installed = onPath(names)
  if (installed) return installed
  throw new Error(`${wanted.why} (apt-get install ${wanted.package})`)
}
