/**
 * Terminal transcripts in documentation: their command lines are run on a real terminal, and what it shows is compared
 * with the page. Figures that depend on the machine or the moment are not; a line of `…` stands for any lines.
 */
import { spawn } from 'node:child_process'
import path from 'node:path'
import { repoRoot } from './cli.js'

export interface Step {
  command: string
  /** What the page says that the terminal shows. */
  says: string[]
}

/** The command lines (`$ …`) of the console blocks of a page. */
export function readTranscript(markdown: string): Step[] {
  const steps: Step[] = []
  for (const [, block] of markdown.matchAll(/^```console\n([\s\S]*?)^```$/gm)) {
    for (const line of block!.trimEnd().split('\n')) {
      if (line.startsWith('$ ')) steps.push({ command: line.slice(2), says: [] })
      else steps.at(-1)!.says.push(line)
    }
  }
  return steps
}

export interface Shown {
  code: number | null
  /** What is left on the screen. */
  screen: string
  /** Everything that was there for a moment, too. */
  moments: string[]
}

export interface TerminalOptions {
  python: string
  cwd: string
  env: NodeJS.ProcessEnv
  /** Ctrl-C is typed as soon as this matches what has been shown. */
  interruptAt?: RegExp
}

/** Runs a command line on a terminal of 80 columns. */
export function runOnTerminal(command: string, { python, cwd, env, interruptAt }: TerminalOptions): Promise<Shown> {
  return new Promise((resolve, reject) => {
    const script = path.join(repoRoot, 'test', 'support', 'terminal.py')
    const child = spawn(python, [script, command], { cwd, env, stdio: ['pipe', 'pipe', 'inherit'] })
    let text = ''
    let waits = interruptAt !== undefined
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      if (!waits || !interruptAt?.test(text)) return
      waits = false
      child.stdin.write('\u0003')
    })
    child.on('error', reject)
    child.on('close', (code) => {
      child.stdin.end()
      resolve({ code, screen: leftOnScreen(text), moments: text.split(MOMENT).map(plain) })
    })
  })
}

const ESC = '\u001b'
const ERASED = new RegExp(`${ESC}\\[[JK]`)
const MOMENT = new RegExp(`\\r|\\n|${ESC}\\[[JK]`)
/** Links and colours. */
const STYLE = new RegExp(`${ESC}\\]8;;.*?${ESC}\\\\|${ESC}\\[[\\d;]*[A-Za-z]`, 'g')
const plain = (text: string): string => text.replaceAll(STYLE, '')

function leftOnScreen(text: string): string {
  const lines = text.split(/\r?\n/).map((line) => plain(line.split(ERASED).at(-1)!))
  return lines.join('\n').trimEnd()
}

/** What depends on the machine and the moment. */
const VARIES: [RegExp, string][] = [
  [/\d[\d,.]*(?= ((h|min|s|[kMG]?B|images\/s|texts\/s)\b|%))/g, '#'],
  [/(# h |# min )?# s/g, '# s'],
  [/# [kMG]?B/g, '# B'],
  [/cpu \(\d+ cores?\)/g, 'cpu'],
  [/bottleneck: \w+/g, 'bottleneck: #'],
  [/\d+(?=\/\d+ images)|\d+(?= finished images| of \d+ images are taken up| are left)/g, '#'],
  // Of near-duplicates anyone may come first.
  [/\b0\.\d{4} (\S*?)\d+\.jpg/g, '0.# $1#.jpg'],
]

/** Rows of a terminal as one text, for their breaks depend on the figures. */
export function steady(text: string): string {
  return VARIES.reduce((all, [what, by]) => all.replaceAll(what, by), text.replaceAll(/\s+/g, ' ').trim())
}
