/** Folders for what need not outlive a command. Those of processes that were killed are removed by the next. */
import { mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { removeLeftOvers, temporaryName } from './atomic.js'

let swept: Promise<void> | undefined

/** A new folder, for its owner only; `what` is a word for people. The caller removes it. */
export async function makeTempFolder(what: string, root = tmpdir()): Promise<string> {
  swept ??= removeLeftOvers(root)
  await swept
  const folder = temporaryName(path.join(root, `vtp-${what}`))
  await mkdir(folder, { mode: 0o700 })
  return folder
}
