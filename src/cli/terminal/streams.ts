/**
 * What becomes of the program when its output cannot be written. A reader of stdout that has gone (`vtp … | head`)
 * ends it without noise; a full disk under stdout is an error like any other, said once on stderr. A stderr that
 * cannot be written stops no run, since the work is worth more than its log, but a full disk shows in the exit code.
 */
import { writeSync } from 'node:fs'
import type { Writable } from 'node:stream'
import { EXIT, errorText, systemCode, VtpError } from '../../errors.js'
import { reportError } from './report.js'

/** Looks after stdout and stderr; `end` is called at most once, with the exit code. */
export function guardStreams(end: (code: number) => void): void {
  onceUnwritable(process.stdout, 1, (error) => {
    if (systemCode(error) === 'EPIPE') end(Number(process.exitCode ?? EXIT.ok))
    else end(reportError(unwritable(error), { json: false }))
  })
  onceUnwritable(process.stderr, 2, (error) => {
    if (systemCode(error) === 'EPIPE') return
    process.on('exit', (code) => {
      if (code === EXIT.ok) process.exitCode = EXIT.failed
    })
  })
}

function unwritable(error: unknown): VtpError {
  return new VtpError(`Standard output cannot be written: ${errorText(error)}`, {
    code: 'stdout_unwritable',
    suggestions: ['free space there, or send the output elsewhere'],
    cause: error,
  })
}

/**
 * Calls `failed` for the first error. Over a file, Node's own stream throws out of whoever calls `write`, and takes
 * a disk that fills up in the middle of a text for success; this one writes all or fails. What comes after a
 * failure is dropped, not tried: oclif throws every error that the stream emits.
 */
function onceUnwritable(stream: Writable, fd: number, failed: (error: unknown) => void): void {
  let broken = false
  const fail = (error: unknown): void => {
    if (broken) return
    broken = true
    failed(error)
  }
  stream.on('error', fail)
  if (stream.constructor.name !== 'SyncWriteStream') return
  stream._write = (chunk: Uint8Array | string, encoding, done) => {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk
    try {
      for (let at = 0; at < bytes.length && !broken; ) at += writeSync(fd, bytes, at)
    } catch (error) {
      fail(error)
    }
    done()
  }
}
