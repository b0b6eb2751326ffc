/**
 * The one error type that users see. A message says what failed, on which object, the value seen and
 * what was expected; `suggestions` say what to try. Anything else that is thrown is a bug and is
 * reported as such.
 */

/** Exit codes of the command line (docs/commands.md). */
export const EXIT = {
  ok: 0,
  /** Finished, but with more rejects than allowed, or a check failed. */
  rejects: 1,
  /** Wrong usage or configuration. */
  usage: 2,
  /** The run failed. */
  failed: 3,
  /** Interrupted; run the same command again to continue. */
  interrupted: 4,
} as const

export type ExitCode = (typeof EXIT)[keyof typeof EXIT]

export interface VtpErrorOptions {
  /** Stable machine-readable name, e.g. `model_tensors_missing`. */
  code: string
  exitCode?: ExitCode
  /** What the user can try next, one sentence each, without "Try:". */
  suggestions?: string[]
  cause?: unknown
}

export class VtpError extends Error {
  readonly code: string
  readonly exitCode: ExitCode
  readonly suggestions: string[]

  constructor(message: string, options: VtpErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'VtpError'
    this.code = options.code
    this.exitCode = options.exitCode ?? EXIT.failed
    this.suggestions = options.suggestions ?? []
  }
}

/** A VtpError for wrong flags, specs or configuration (exit code 2). */
export function usageError(code: string, message: string, suggestions: string[] = []): VtpError {
  return new VtpError(message, { code, exitCode: EXIT.usage, suggestions })
}

/** The text of any thrown value, without a stack. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The `code` of a Node system error (`ENOENT`, `ENOSPC`, …), if it has one. */
export function systemCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' ? code : undefined
}
