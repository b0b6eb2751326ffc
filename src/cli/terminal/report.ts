/**
 * How errors leave the program: "Error: …" and "Try: …" lines on stderr, `{"error": …}` on stdout with
 * `--json`, and the exit code. Only bugs show more, and only with VTP_DEBUG=1 a stack.
 */
import { EXIT, type ExitCode, errorText, systemCode, VtpError } from '../../errors.js'
import { cleanLine, jsonText } from './clean.js'
import { wrapWords } from './format.js'

export interface ReportOptions {
  /** Print the error as JSON on stdout too. */
  json: boolean
  env?: NodeJS.ProcessEnv
  writeOut?: (text: string) => void
  writeErr?: (text: string) => void
}

/** The stable object of an error in `--json`. */
export interface ErrorJson {
  error: { code: string; message: string; suggestions: string[] }
}

/** System errors that are the machine's doing, not a bug. */
const SYSTEM: Record<string, string> = {
  ENOSPC: 'free space on the disk, then run the same command again to continue',
  EDQUOT: 'the disk quota is used up: free space, then run the same command again to continue',
  EACCES: 'check the permissions of the file or folder',
  EPERM: 'check the permissions of the file or folder',
  EROFS: 'the file system is read-only: choose another folder',
  ENOENT: 'check the path',
  ENOTDIR: 'check the path: a part of it is a file, not a folder',
  EISDIR: 'check the path: it is a folder, and a file was expected',
  EMFILE: 'raise the limit of open files (ulimit -n)',
  ENFILE: 'raise the limit of open files of the system',
  EIO: 'the disk reports an input/output error',
  ESTALE: 'the network file system has lost the file: mount it again',
}

/** Any thrown value as a VtpError; what is neither ours nor the system's is a bug. */
export function toVtpError(error: unknown): VtpError {
  if (error instanceof VtpError) return error
  if (error instanceof Error && error.name === 'AbortError') {
    return new VtpError('Interrupted', {
      code: 'interrupted',
      exitCode: EXIT.interrupted,
      suggestions: ['run the same command again to continue'],
      cause: error,
    })
  }
  const code = systemCode(error)
  const hint = code === undefined ? undefined : SYSTEM[code]
  if (hint)
    return new VtpError(errorText(error), { code: `system_${code!.toLowerCase()}`, suggestions: [hint], cause: error })
  const text = errorText(error).split('\n')[0]!.trim() || 'unknown error'
  return new VtpError(text, {
    code: 'internal_error',
    suggestions: ['this is a bug in vtp: run the command again with VTP_DEBUG=1 and report what it prints'],
    cause: error,
  })
}

export function errorJson(error: VtpError): ErrorJson {
  return { error: { code: error.code, message: error.message, suggestions: error.suggestions } }
}

/** Messages of YAML and of the system may have several lines; a forged "Try:" must not look like ours. */
const oneLine = (text: string): string => cleanLine(text.trimEnd().replace(/\s*\r?\n\s*/g, ' '))

/** An indented line stays a line: nobody takes it for one of ours. */
const messageLines = (text: string): string[] =>
  text.split(/\r?\n(?= {2}\S)/).map((part, i) => (i === 0 ? oneLine(part) : `  ${oneLine(part.trim())}`))

/** Broken between words where a person reads it. */
const onTerminal = (line: string): string =>
  process.stderr.isTTY ? wrapWords(line, Math.max(20, process.stderr.columns ?? 80) - 1) : line

const stackLines = (text: string): string[] => text.split('\n').map((line) => cleanLine(line))

/** Prints an error and returns its exit code. */
export function reportError(thrown: unknown, options: ReportOptions): ExitCode {
  const error = toVtpError(thrown)
  const env = options.env ?? process.env
  const writeErr = options.writeErr ?? ((text) => process.stderr.write(text))
  const lines = [`Error: ${error.message}`, ...error.suggestions.map((suggestion) => `Try: ${suggestion}`)]
    .flatMap(messageLines)
    .map(onTerminal)
  if (env.VTP_DEBUG === '1') {
    lines.push(...stackLines(error.stack ?? ''))
    if (error.cause instanceof Error)
      lines.push(...stackLines(`Caused by: ${error.cause.stack ?? error.cause.message}`))
  }
  writeErr(`${lines.join('\n')}\n`)
  if (options.json) {
    const writeOut = options.writeOut ?? ((text) => process.stdout.write(text))
    writeOut(`${jsonText(errorJson(error), 2)}\n`)
  }
  return error.exitCode
}
