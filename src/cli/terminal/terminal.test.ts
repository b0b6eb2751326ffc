import { describe, expect, it } from 'vitest'
import { type ProgressSnapshot, progressLine } from './progress.js'
import { createTerminal, withoutResults } from './terminal.js'

const snapshot: ProgressSnapshot = {
  done: 3450,
  total: 10_000,
  rejects: 2,
  bytesRead: 600e6,
  elapsedSeconds: 60,
  imagesPerSecond: 57.5,
  etaSeconds: 114,
  bottleneck: 'encode',
  unitsDone: 3,
  unitsTotal: 10,
}

const ESC = '\u001b'
const TOKENS = new RegExp(`${ESC}\\[\\d*[AJK]|\\r|\\n|[^\\r\\n${ESC}]+`, 'g')

/** Rows of a terminal that wraps, reflows when its width changes, and knows the escapes that we use. */
function screenOf(chunks: { text: string; columns: number }[]): string[] {
  let rows: string[] = ['']
  let at = 0
  let width = chunks[0]?.columns ?? 80
  for (const { text, columns } of chunks) {
    if (columns !== width) {
      width = columns
      rows = rows.flatMap((row) => (row.length > width ? (row.match(new RegExp(`.{1,${width}}`, 'g')) ?? ['']) : [row]))
      at = rows.length - 1
    }
    for (const token of text.match(TOKENS) ?? []) {
      if (token === '\n') {
        rows.push('')
        at = rows.length - 1
      } else if (token === '\r') continue
      else if (/A$/.test(token)) at -= Number(token.slice(2, -1) || '1')
      else if (/[JK]$/.test(token)) {
        if (token.endsWith('J')) rows.length = at + 1
        rows[at] = ''
      } else rows[at] += token
    }
  }
  return rows
}

function record(options: { isTTY: boolean; json?: boolean; columns?: number }) {
  const chunks: { text: string; columns: number }[] = []
  let out = ''
  let time = 0
  const err = {
    write: (text: string) => void chunks.push({ text, columns: err.columns }),
    columns: options.columns ?? 80,
    isTTY: options.isTTY,
  }
  const stdout = {
    write: (text: string) => {
      out += text
    },
  }
  const terminal = createTerminal({ json: options.json ?? false, out: stdout, err, now: () => time })
  return {
    terminal,
    err,
    advance(ms: number) {
      time += ms
    },
    text: () => chunks.map(({ text }) => text).join(''),
    out: () => out,
    screen: () => screenOf([...chunks, { text: '', columns: err.columns }]),
  }
}

describe('progressLine', () => {
  it('says first how long it takes and how fast it is', () => {
    expect(progressLine(snapshot)).toBe(
      '1 min 54 s left · 57.5 images/s · 34.5 % · 3,450/10,000 images · 2 rejects · units 3/10 · 10.0 MB/s · bottleneck: encode',
    )
  })

  it('leaves out what does not fit, and cuts nothing', () => {
    expect(progressLine(snapshot, 79)).toBe(
      '1 min 54 s left · 57.5 images/s · 34.5 % · 3,450/10,000 images · 2 rejects',
    )
    expect(progressLine(snapshot, 39)).toBe('1 min 54 s left · 57.5 images/s')
  })

  it('leaves out what is not known', () => {
    const line = progressLine({ ...snapshot, total: null, etaSeconds: null, bottleneck: null, rejects: 1 })
    expect(line).toBe('57.5 images/s · 3,450 images · 1 reject · units 3/10 · 10.0 MB/s')
  })

  it('has no speed before the first image', () => {
    expect(progressLine({ ...snapshot, done: 0, rejects: 0, imagesPerSecond: 0, etaSeconds: null }, 60)).toBe(
      'starting · 0.0 % · 0/10,000 images · 0 rejects · units 3/10',
    )
  })

  it('has a percentage for an empty dataset too', () => {
    const line = progressLine({ ...snapshot, done: 0, total: 0, etaSeconds: null, elapsedSeconds: 0 })
    expect(line).toMatch(/100\.0 % · 0\/0 images/)
  })
})

describe('the updating line', () => {
  it('rewrites itself, no wider than the terminal', () => {
    const { terminal, advance, screen, text } = record({ isTTY: true, columns: 40 })
    terminal.update(snapshot)
    terminal.update({ ...snapshot, done: 3500 })
    advance(150)
    terminal.update({ ...snapshot, done: 4000, etaSeconds: 10 })
    expect(text().match(/images\/s/g)).toHaveLength(2)
    expect(screen()).toEqual(['10 s left · 57.5 images/s · 40.0 %'])
  })

  it('stays below notes, and the summary takes its place', () => {
    const { terminal, screen } = record({ isTTY: true, columns: 200 })
    terminal.update(snapshot)
    terminal.note('worker 0 of 4')
    expect(screen()).toEqual(['worker 0 of 4', progressLine(snapshot)])
    terminal.finish(['done'])
    terminal.close()
    expect(screen()).toEqual(['worker 0 of 4', 'done', ''])
  })

  it('leaves no debris when the window becomes narrower, and takes nothing of the notes above', () => {
    const { terminal, err, advance, screen } = record({ isTTY: true, columns: 120 })
    terminal.note('first note')
    terminal.update(snapshot)
    err.columns = 40
    expect(screen().length).toBeGreaterThan(3)
    advance(150)
    terminal.update(snapshot)
    expect(screen()).toEqual(['first note', progressLine(snapshot, 39)])
    terminal.note('second note')
    terminal.close()
    expect(screen()).toEqual(['first note', 'second note', ''])
  })

  it('has notes above it that are broken between words; those of a log stay whole', () => {
    const { terminal, screen } = record({ isTTY: true, columns: 30 })
    terminal.note('a note that is longer than the window is wide')
    expect(screen()).toEqual(['a note that is longer than', '  the window is wide', ''])
    const log = record({ isTTY: false, columns: 30 })
    log.terminal.note('a note that is longer than the window is wide')
    expect(log.text()).toBe('a note that is longer than the window is wide\n')
  })

  it('is a plain line every ten seconds when stderr is not a terminal', () => {
    const { terminal, advance, text } = record({ isTTY: false })
    for (let i = 0; i < 25; i++) {
      advance(1000)
      terminal.update(snapshot)
    }
    terminal.finish(['done'])
    expect(text()).toBe(`${progressLine(snapshot)}\n${progressLine(snapshot)}\ndone\n`)
    expect(text()).not.toContain('\u001b')
  })
})

describe('what is printed', () => {
  it('leaves results to the JSON object with --json, but not the notes', () => {
    const { terminal, text, out } = record({ isTTY: false, json: true })
    terminal.note('worker 0 of 4')
    terminal.print(['a result'])
    terminal.finish(['done'])
    expect([text(), out()]).toEqual(['worker 0 of 4\n', ''])
  })

  it('of a command within a command is its notes alone', () => {
    const { terminal, text, out } = record({ isTTY: false })
    const inner = withoutResults(terminal)
    inner.note('a note')
    inner.finish(['inner summary'])
    inner.print(['inner result'])
    terminal.print(['result'])
    expect([text(), out()]).toEqual(['a note\n', 'result\n'])
  })

  it('holds no control character, whichever way it goes', () => {
    const evil = 'a\u001b]0;title\u0007\u009b2J\nError: forged'
    for (const isTTY of [true, false]) {
      const { terminal, text, out } = record({ isTTY, columns: 200 })
      terminal.note(evil)
      terminal.status(evil)
      terminal.finish([evil])
      terminal.print([evil])
      terminal.printLink(evil, evil, undefined, evil)
      // Our own: back to the line's start, erase, up.
      const rest = (text() + out()).replaceAll('\r\u001b[K', '').replaceAll('\n', '')
      expect(rest).not.toMatch(/\p{Cc}/u)
      expect(text() + out()).not.toMatch(/^Error/m)
    }
  })
})
