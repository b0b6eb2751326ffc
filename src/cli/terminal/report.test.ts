import { describe, expect, it } from 'vitest'
import { usageError, VtpError } from '../../errors.js'
import { reportError } from './report.js'

function report(error: unknown, { json = false, env = {} as NodeJS.ProcessEnv } = {}) {
  let out = ''
  let err = ''
  const code = reportError(error, {
    json,
    env,
    writeOut: (text) => {
      out += text
    },
    writeErr: (text) => {
      err += text
    },
  })
  return { code, out, err }
}

describe('reportError', () => {
  it('prints what failed and what to try, without a stack', () => {
    const { code, out, err } = report(usageError('bad_thing', 'The thing is bad', ['fix it', 'or leave it']))
    expect([code, out, err]).toEqual([2, '', 'Error: The thing is bad\nTry: fix it\nTry: or leave it\n'])
  })

  it('keeps the indented lines of a message, and no other', () => {
    const { err } = report(
      usageError('other_plan', 'Another run:\n  flip: true there\n  rows: 4 there\nTry: forged', ['go']),
    )
    expect(err).toBe('Error: Another run:\n  flip: true there\n  rows: 4 there Try: forged\nTry: go\n')
  })

  it('prints one stable object on stdout with --json', () => {
    const { code, out } = report(new VtpError('No', { code: 'no', suggestions: ['yes'] }), { json: true })
    expect(code).toBe(3)
    expect(JSON.parse(out)).toEqual({ error: { code: 'no', message: 'No', suggestions: ['yes'] } })
  })

  it('calls everything else a bug, in one line, and shows the stack only with VTP_DEBUG=1', () => {
    const bug = new TypeError('x is not a function\nsecond line')
    const plain = report(bug)
    expect(plain.code).toBe(3)
    expect(plain.err).toMatch(/^Error: x is not a function\nTry: this is a bug in vtp: .*VTP_DEBUG=1.*\n$/)
    expect(report(bug, { env: { VTP_DEBUG: '1' } }).err).toContain('report.test.ts')
    expect(report('just text').err).toContain('Error: just text\n')
    expect(report(undefined).err).toContain('Error: undefined\n')
  })

  it('a stopped run is interrupted, no bug', () => {
    const controller = new AbortController()
    controller.abort()
    const { code, err } = report(controller.signal.reason)
    expect(code).toBe(4)
    expect(err).toMatch(/^Error: Interrupted/)
    expect(err).not.toContain('bug')
  })

  it('tells the trouble of the machine from a bug', () => {
    const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
    const { code, err } = report(full)
    expect(code).toBe(3)
    expect(err).toContain('Try: free space on the disk')
    expect(err).not.toContain('bug')
  })
})
