/**
 * Where text for people is written, and the only place: messages and progress go to stderr, what was asked for
 * goes to stdout. Every line passes `cleanLine`. A command is handed its terminal and hands it down; with
 * `--json` the results are left to the object, and notes are printed all the same.
 *
 * On a terminal lines are broken between words, and one line updates itself below them. It is never wider than the
 * window, and a window that has become narrower is cleared of what the terminal has wrapped. Elsewhere (logs of a
 * scheduler) there is a plain line every ten seconds. Nothing here decides anything.
 */
import { pathToFileURL } from 'node:url'
import type { ProgressSnapshot } from '../../pipeline/stream/meter.js'
import { cleanLine, jsonText, MESSAGE_LIMITS, OUTPUT_LIMITS, printable } from './clean.js'
import { wrapWords } from './format.js'
import { progressLine } from './progress.js'

/** Where it is written: stdout or stderr, or a stand-in in tests. */
export interface TextStream {
  write(text: string): unknown
  isTTY?: boolean
  columns?: number
}

export interface Terminal {
  /** Whether `--json` is on: stdout then carries one object and nothing else. */
  readonly json: boolean
  /** One line that stays, on stderr. */
  note(line: string): void
  /** How a run goes on; shown now and then. */
  update(snapshot: ProgressSnapshot): void
  /** The same in words of the caller's. */
  status(line: string): void
  /** The summary at the end, on stderr; ends the updating line. Left to the object with `--json`. */
  finish(lines: readonly string[]): void
  /** What was asked for, on stdout. Left to the object with `--json`. */
  print(lines: readonly string[]): void
  /** A line whose last word is a file that terminals make clickable. */
  printLink(before: string, text: string, file: string | undefined, after: string): void
  /** Ends the updating line; safe to call more than once. */
  close(): void
}

export interface TerminalOptions {
  json: boolean
  out?: TextStream
  err?: TextStream
  /** Milliseconds; for tests. */
  now?: () => number
}

const TTY_INTERVAL_MS = 100
const LOG_INTERVAL_MS = 10_000

/**
 * Erases the line that the cursor is in, and `wrapped` rows above it. Where there are none only the line is erased:
 * tmux would put a screen that is erased from its first row on into its history.
 */
const erase = (wrapped: number): string => (wrapped > 0 ? `\u001b[${wrapped}A\r\u001b[J` : '\r\u001b[K')

/** The methods use no `this`: they may be passed on as they are. */
export function createTerminal({
  json,
  out = process.stdout,
  err = process.stderr,
  now = performance.now.bind(performance),
}: TerminalOptions): Terminal {
  const isTty = err.isTTY === true
  let shown = ''
  let nextAt = isTty ? Number.NEGATIVE_INFINITY : now() + LOG_INTERVAL_MS

  const columns = (): number => Math.max(20, err.columns ?? 80)
  const clear = (): void => {
    // A line that fitted when it was written has been wrapped by a window that is narrower now.
    if (shown) err.write(erase(Math.ceil(shown.length / columns()) - 1))
    shown = ''
  }
  const writeLine = (line: string): void => {
    const clean = cleanLine(line)
    err.write(`${isTty ? wrapWords(clean, columns() - 1) : clean}\n`)
  }
  const note = (line: string): void => {
    const again = shown
    clear()
    writeLine(line)
    if (again && again.length < columns()) {
      shown = again
      err.write(shown)
    }
  }
  const show = (text: (width: number) => string): void => {
    const time = now()
    if (time < nextAt) return
    nextAt = time + (isTty ? TTY_INTERVAL_MS : LOG_INTERVAL_MS)
    if (!isTty) {
      err.write(`${cleanLine(text(Number.POSITIVE_INFINITY))}\n`)
      return
    }
    const width = columns() - 1
    const line = cleanLine(text(width), { ...MESSAGE_LIMITS, line: width })
    clear()
    shown = line
    err.write(shown)
  }
  return {
    json,
    note,
    update: (snapshot) => show((width) => progressLine(snapshot, width)),
    status: (line) => show(() => line),
    finish(lines) {
      clear()
      if (!json) for (const line of lines) writeLine(line)
    },
    print(lines) {
      clear()
      if (!json) out.write(lines.map((line) => `${cleanLine(line, OUTPUT_LIMITS)}\n`).join(''))
    },
    printLink(before, text, file, after) {
      clear()
      if (json) return
      const [head, word, tail] = [before, text, after].map((part) => cleanLine(part, OUTPUT_LIMITS))
      const isLink = file !== undefined && out.isTTY === true
      const link = isLink ? `\u001b]8;;${printable(pathToFileURL(file).href)}\u001b\\${word}\u001b]8;;\u001b\\` : word
      out.write(`${head}${link}${tail}\n`)
    },
    close: clear,
  }
}

/** For a command within another one: its notes and its progress are shown, its results are left to the outer one. */
export function withoutResults(terminal: Terminal): Terminal {
  return { ...terminal, finish: () => terminal.close(), print: () => {}, printLink: () => {} }
}

/** One object for programs, on stdout. */
export function printJson(value: unknown, out: TextStream = process.stdout): void {
  out.write(`${jsonText(value, 2)}\n`)
}

/** Lines of JSON for programs, as many as there are rows: written with `jsonText`, at the reader's pace. */
export function dataStream(): NodeJS.WriteStream {
  return process.stdout
}

/** A line on stdout as it is: for what the program says of itself. */
export function printPlain(line: string, out: TextStream = process.stdout): void {
  out.write(`${line}\n`)
}
