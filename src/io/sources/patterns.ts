/** Globs (`*`, `?`, `[…]`, `**` within a path part) and brace ranges (`{000..127}`, `{a,b}`) → existing files. */
import { readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { usageError } from '../../errors.js'

const MAX_NAMES = 1_000_000

/** "a-{00..02}.tar" → a-00.tar, a-01.tar, a-02.tar. Numbers keep their width; lists may be nested. */
export function expandBraces(pattern: string): string[] {
  const open = pattern.indexOf('{')
  if (open < 0) return [pattern]
  let depth = 0
  let close = -1
  const commas: number[] = []
  for (let i = open; i < pattern.length && close < 0; i++) {
    if (pattern[i] === '{') depth++
    else if (pattern[i] === '}' && --depth === 0) close = i
    else if (pattern[i] === ',' && depth === 1) commas.push(i)
  }
  if (close < 0) return [pattern]
  const [head, body, tail] = [pattern.slice(0, open), pattern.slice(open + 1, close), pattern.slice(close + 1)]
  const range = /^(\d+)\.\.(\d+)$/.exec(body)
  let parts: string[]
  if (range) {
    const [first, last] = [Number(range[1]), Number(range[2])]
    const width = range[1]!.length
    const step = first <= last ? 1 : -1
    const count = Math.abs(last - first) + 1
    if (count > MAX_NAMES)
      throw usageError('bad_pattern', `The range {${body}} has ${count} names, at most ${MAX_NAMES} are taken`)
    parts = Array.from({ length: count }, (_, i) => String(first + i * step).padStart(width, '0'))
  } else if (commas.length > 0) {
    const cuts = [open, ...commas, close]
    parts = cuts.slice(1).map((cut, i) => pattern.slice(cuts[i]! + 1, cut))
  } else {
    return expandBraces(tail).map((rest) => `${head}{${body}}${rest}`)
  }
  return parts
    .flatMap((part) => expandBraces(part))
    .flatMap((part) => expandBraces(tail).map((rest) => head + part + rest))
}

/** `[…]`, one of the other signs of a glob, or a sign that only a regular expression knows. */
const SIGNS = /\[([!^]?)(\]?[^\]]+)\]|[*?\\^$.|+(){}[\]]/g

/**
 * A regular expression for a glob; `*` and `?` match no slash. A bracket without its end is one of the name. Throws
 * usage error `bad_pattern` for a range that is out of order.
 */
export function globToRegExp(glob: string): RegExp {
  const text = glob.replaceAll(SIGNS, (sign: string, not?: string, set?: string) => {
    if (set !== undefined) return `[${not ? '^' : ''}${set.replaceAll(/[\\\]^[]/g, '\\$&')}]`
    if (sign === '*') return '[^/]*'
    return sign === '?' ? '[^/]' : `\\${sign}`
  })
  try {
    return new RegExp(`^${text}$`, 's')
  } catch {
    throw usageError('bad_pattern', `The pattern ${glob} has a range that is out of order`, [
      'write e.g. [a-z] or [0-9]',
    ])
  }
}

/** Existing files that a pattern names: brace order first, sorted within a glob. A brace name that is missing is an error. */
export async function expandPatterns(pattern: string): Promise<string[]> {
  const out: string[] = []
  const names = expandBraces(pattern)
  for (const name of names) {
    if (!/[*?[]/.test(name)) {
      if (await stat(name).catch(() => undefined)) out.push(name)
      else if (names.length > 1) {
        throw usageError('source_missing', `${name} (of ${pattern}) does not exist`, [
          'check the range, or give a glob such as train-*.tar',
        ])
      }
      continue
    }
    out.push(...(await expandGlob(name)))
  }
  return out
}

async function expandGlob(glob: string): Promise<string[]> {
  let bases = [path.isAbsolute(glob) ? '/' : '.']
  for (const part of path.normalize(glob).split(path.sep).filter(Boolean)) {
    if (!/[*?[]/.test(part)) {
      bases = bases.map((base) => path.join(base, part))
      continue
    }
    const matches = globToRegExp(part)
    const next: string[] = []
    for (const base of bases) {
      const names = await readdir(base).catch(() => [])
      next.push(
        ...names
          .filter((name) => matches.test(name))
          .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
          .map((name) => path.join(base, name)),
      )
    }
    bases = next
  }
  const there: string[] = []
  for (const file of bases) if (await stat(file).catch(() => undefined)) there.push(file)
  return there
}
