/** A checkpoint on this machine as families look at it (family.ts): a folder, or a file in one. */
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { EXIT, errorText, systemCode, VtpError } from '../errors.js'
import { openTensorFile } from '../io/tensor-file.js'
import type { Candidate } from './family.js'

/** Published layouts are flat, or a few folders deep. */
const DEPTH = 4
/** A folder of photographs given by mistake is not read to its end. */
const MOST_FILES = 2000

/** JSON that holds an object. Throws VtpError `bad_config`. */
export function parseJsonObject(text: string, where: string): Record<string, unknown> {
  const bad = (cause?: unknown): VtpError =>
    new VtpError(`${where}: it is not valid JSON that holds an object`, {
      code: 'bad_config',
      exitCode: EXIT.usage,
      suggestions: ['download or copy the file again'],
      cause,
    })
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw bad(error)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bad()
  return value as Record<string, unknown>
}

/** Files that mean their folder: their names say less than its. */
export const PLAIN_NAMES =
  /^(config\.json|(model|pytorch_model|open_clip_model|open_clip_pytorch_model)\.(safetensors|bin)(\.index\.json)?|open_clip_config\.json)$/

/** Names of a remote listing that may become files below a folder of ours: relative, and never above it. */
export function isPlainPath(name: string): boolean {
  return name !== '' && !name.includes('\\') && name.split('/').every((part) => part !== '' && !/^\.\.?$/.test(part))
}

/** What a hub or a bucket lists, as families look at it; `fetch` brings a small file's text. */
export function remoteCandidate(
  ref: string,
  names: Iterable<string>,
  fetch: (name: string) => Promise<string>,
  file?: string,
): Candidate {
  const files = [...names].filter(isPlainPath).sort()
  const texts = new Map<string, Promise<string>>()
  const readText = async (name: string): Promise<string | undefined> => {
    if (!files.includes(name)) return undefined
    if (!texts.has(name)) texts.set(name, fetch(name))
    return texts.get(name)
  }
  return {
    ref,
    files,
    file,
    readText,
    async readJson(name) {
      const text = await readText(name)
      return text === undefined ? undefined : parseJsonObject(text, `${ref}/${name}`)
    },
    readShapes: async () => undefined,
  }
}

async function listFiles(folder: string): Promise<string[]> {
  const found: string[] = []
  const visit = async (under: string, depth: number): Promise<void> => {
    for (const entry of await readdir(path.join(folder, under), { withFileTypes: true })) {
      if (found.length >= MOST_FILES) return
      const name = under === '' ? entry.name : `${under}/${entry.name}`
      if (entry.isDirectory() && depth > 1 && !entry.name.startsWith('.')) await visit(name, depth - 1)
      else if (entry.isFile() || entry.isSymbolicLink()) found.push(name)
    }
  }
  await visit('', DEPTH)
  return found.sort()
}

export async function localCandidate(ref: string, folder: string, file?: string): Promise<Candidate> {
  const files = await listFiles(folder).catch((error: unknown) => {
    throw new VtpError(`${folder} cannot be read: ${errorText(error)}`, { code: 'file_unreadable', cause: error })
  })
  const readText = async (name: string): Promise<string | undefined> => {
    if (!files.includes(name)) return undefined
    const at = path.join(folder, name)
    try {
      return await readFile(at, 'utf8')
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined
      throw new VtpError(`${at} cannot be read: ${errorText(error)}`, { code: 'file_unreadable', cause: error })
    }
  }
  return {
    ref,
    files,
    file,
    readText,
    async readJson(name) {
      const text = await readText(name)
      return text === undefined ? undefined : parseJsonObject(text, path.join(folder, name))
    },
    async readShapes(name, keys) {
      const opened = await openTensorFile(path.join(folder, name), keys)
      try {
        return opened.shapes
      } finally {
        await opened.close()
      }
    },
  }
}
