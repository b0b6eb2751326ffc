import { EXIT, VtpError } from '../../errors.js'
import type { Reject } from '../../types.js'

/** The error of a set of which no image could be read; names the first. */
export function noneReadable(spec: string, count: number, first: Reject | undefined): VtpError {
  const why = first ? `: ${first.key} (${first.code}: ${first.message})` : ''
  return new VtpError(`None of the ${count} images of ${spec} could be read${why}`, {
    code: 'none_readable',
    exitCode: EXIT.rejects,
    suggestions: ['check the files, e.g. with `vtp encode --dry-run`'],
  })
}
