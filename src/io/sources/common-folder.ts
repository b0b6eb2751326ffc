import path from 'node:path'
import { uriScheme } from '../store.js'

/** An absolute path; addresses as they are. */
export function absolutePath(file: string): string {
  return uriScheme(file) === undefined ? path.resolve(file) : file
}

/** The deepest folder that holds all files: keys name a file by what follows it. */
export function commonFolder(files: string[]): string {
  let common = path.dirname(files[0]!)
  for (const file of files) while (path.relative(common, file).startsWith('..')) common = path.dirname(common)
  return common
}
