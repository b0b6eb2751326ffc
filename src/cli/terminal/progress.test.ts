import { describe, expect, it } from 'vitest'
import { createProgress, type ProgressSnapshot, progressLine } from './progress.js'

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

function record(options: { isTty: boolean; json?: boolean; columns?: number }) {
  const chunks: string[] = []
  const text = (): string => chunks.join('')
  let time = 0
  const stream = { write: (chunk: string) => void chunks.push(chunk), columns: options.columns }
  const progress = createProgress({ stream, isTty: options.isTty, json: options.json ?? false, now: () => time })
  return {
    progress,
    advance(ms: number) {
      time += ms
    },
    text,
    /** What a terminal shows after carriage returns and erasures. */
    screen: () =>
      text()
        .split('\n')
        .map((line) => line.split('\r\u001b[K').at(-1)),
  }
}

describe('progressLine', () => {
  it('shows percent, rate, rejects, time left and the bottleneck', () => {
    expect(progressLine(snapshot)).toBe(
      '34.5 % · 3,450/10,000 images · 57.5 images/s · 10.0 MB/s · 2 rejects · units 3/10 · 1 min 54 s left · bottleneck: encode',
    )
  })

  it('leaves out what is not known', () => {
    const line = progressLine({ ...snapshot, total: null, etaSeconds: null, bottleneck: null, rejects: 1 })
    expect(line).toBe('3,450 images · 57.5 images/s · 10.0 MB/s · 1 reject · units 3/10')
  })

  it('has a percentage for an empty dataset too', () => {
    expect(progressLine({ ...snapshot, done: 0, total: 0, elapsedSeconds: 0 })).toMatch(/^100\.0 % · 0\/0 images/)
  })
})

describe('createProgress', () => {
  it('rewrites one line on a terminal, no wider than the terminal', () => {
    const { progress, advance, screen, text } = record({ isTty: true, columns: 40 })
    progress.update(snapshot)
    progress.update({ ...snapshot, done: 3500 })
    advance(150)
    progress.update({ ...snapshot, done: 4000 })
    expect(text().match(/images/g)).toHaveLength(2)
    expect(screen()).toHaveLength(1)
    expect(screen()[0]).toMatch(/^40\.0 %.*…$/)
    expect(screen()[0]!.length).toBeLessThan(40)
  })

  it('keeps notes above the updating line and ends with the summary alone', () => {
    const { progress, screen } = record({ isTty: true, columns: 200 })
    progress.update(snapshot)
    progress.note('worker 0 of 4')
    expect(screen()).toEqual(['worker 0 of 4', progressLine(snapshot)])
    progress.finish(['done'])
    progress.close()
    expect(screen()).toEqual(['worker 0 of 4', 'done', ''])
  })

  it('writes a plain line every ten seconds when stderr is no terminal', () => {
    const { progress, advance, text } = record({ isTty: false })
    for (let i = 0; i < 25; i++) {
      advance(1000)
      progress.update(snapshot)
    }
    progress.finish(['done'])
    expect(text()).toBe(`${progressLine(snapshot)}\n${progressLine(snapshot)}\ndone\n`)
    expect(text()).not.toContain('\u001b')
  })

  it('leaves the summary to the JSON object with --json', () => {
    const { progress, text } = record({ isTty: false, json: true })
    progress.note('worker 0 of 4')
    progress.finish(['done'])
    expect(text()).toBe('worker 0 of 4\n')
  })
})
