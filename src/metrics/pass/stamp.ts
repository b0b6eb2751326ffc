/** What tells files apart without reading them: changes where size or time of change do. */
import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { openStore } from '../../io/open-store.js'
import { uriScheme } from '../../io/store.js'

/** Size and time of change; nothing for what is no local file, where the listing's own word counts. */
export async function fileStamp(name: string): Promise<string> {
  if (name === '' || uriScheme(name) !== undefined) return ''
  const info = await stat(name).catch(() => undefined)
  return info ? `${info.size} ${info.mtimeMs}` : 'absent'
}

/** SHA-256 over names, sizes and times of change of files or S3 objects, in order. */
export async function stampFiles(files: readonly string[]): Promise<string> {
  const hash = createHash('sha256')
  for (const file of files) {
    const stamp =
      uriScheme(file) === 's3' ? [file, await objectStamp(file)] : [path.resolve(file), await fileStamp(file)]
    hash.update(`${JSON.stringify(stamp)}\n`)
  }
  return hash.digest('hex')
}

/** The same for an object of S3 or a file. */
export async function contentStamp(name: string): Promise<string> {
  return uriScheme(name) === 's3' ? JSON.stringify(await objectStamp(name)) : fileStamp(name)
}

async function objectStamp(uri: string): Promise<unknown> {
  const slash = uri.lastIndexOf('/')
  const store = await openStore(uri.slice(0, slash))
  try {
    return await store.stat(uri.slice(slash + 1))
  } finally {
    await store.close()
  }
}
