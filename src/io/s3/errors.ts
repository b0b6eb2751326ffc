/**
 * Errors of object storage: which of them pass, and what the others mean to people. Messages carry the
 * address, the operation, the service's code and status; never headers, signatures or credentials.
 */
import { EXIT, errorText, systemCode, VtpError } from '../../errors.js'

export type FailureKind =
  /** The service asks for patience: slow down and try again. */
  | 'throttled'
  /** A passing failure: try again. */
  | 'passing'
  /** The credentials have run out: read them again and try once more. */
  | 'expired'
  | 'lasting'

interface ServiceError {
  name?: string
  Code?: string
  message?: string
  $metadata?: { httpStatusCode?: number }
  $response?: { headers?: Record<string, string>; statusCode?: number }
  cause?: unknown
}

export function failureStatus(error: unknown): number | undefined {
  const { $metadata, $response } = (error ?? {}) as ServiceError
  return $metadata?.httpStatusCode ?? $response?.statusCode
}

export function failureName(error: unknown): string {
  const { Code, name } = (error ?? {}) as ServiceError
  return Code ?? (name === 'Error' ? (systemCode(error) ?? 'Error') : (name ?? 'Error'))
}

const THROTTLED =
  /^(SlowDown|ServiceUnavailable|Throttling|ThrottlingException|RequestThrottled|RequestLimitExceeded|TooManyRequests|TooManyRequestsException|BandwidthLimitExceeded)$/
const EXPIRED = /^(ExpiredToken|ExpiredTokenException|TokenRefreshRequired|RequestExpired)$/
const PASSING =
  /^(InternalError|RequestTimeout|RequestTimeoutException|IncompleteBody|OperationAborted|ConditionalRequestConflict|BadDigest|TimeoutError|AbortError|RequestTimeTooSkewed|TruncatedBody)$/
const SYSTEM =
  /^(ECONNRESET|ECONNREFUSED|ECONNABORTED|EPIPE|ETIMEDOUT|EAI_AGAIN|ENOTFOUND|ENETUNREACH|EHOSTUNREACH|EMFILE|ENFILE|EADDRNOTAVAIL|ERR_STREAM_PREMATURE_CLOSE|HPE_\w+)$/

export function classifyFailure(error: unknown): FailureKind {
  const name = failureName(error)
  const status = failureStatus(error)
  if (EXPIRED.test(name)) return 'expired'
  if (THROTTLED.test(name) || status === 503 || status === 429) return 'throttled'
  if (PASSING.test(name) || SYSTEM.test(systemCode(error) ?? '')) return 'passing'
  const cause = (error as ServiceError | null)?.cause
  if (SYSTEM.test(systemCode(cause) ?? '')) return 'passing'
  if (/socket hang up|aborted|premature close|[Cc]hecksum mismatch|Deserialization error/.test(errorText(error)))
    return 'passing'
  if (status !== undefined && (status >= 500 || status === 408 || status === 409)) return 'passing'
  // An answer that claims success and could not be read was damaged on the way.
  if (status === 200 || status === 206) return 'passing'
  return 'lasting'
}

/** Whether the failed request may have had its effect: the answer is missing, not a refusal. */
export function isUncertain(error: unknown): boolean {
  const status = failureStatus(error)
  return status === undefined || status < 300 || status >= 500
}

/** Whether no server was reached at all. */
export function isUnreachable(error: unknown): boolean {
  return ['ECONNREFUSED', 'ENOTFOUND', 'EHOSTUNREACH', 'ENETUNREACH'].includes(
    systemCode(error) ?? systemCode((error as ServiceError | null)?.cause) ?? '',
  )
}

export function isWithoutCredentials(error: unknown): boolean {
  return /^(CredentialsProviderError|CredentialUnavailable|TokenProviderError)$/.test(failureName(error))
}

/** Whether the environment says that a role gives credentials: none is then a failure of the service that hands them out. */
export function hasRole(env: Record<string, string | undefined>): boolean {
  return [
    'AWS_ROLE_ARN',
    'AWS_WEB_IDENTITY_TOKEN_FILE',
    'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI',
    'AWS_CONTAINER_CREDENTIALS_FULL_URI',
  ].some((name) => env[name])
}

/** A VtpError for a lasting failure. VtpErrors pass through. `knownCredentials`: there were some, or should be. */
export function s3Error(operation: string, uri: string, error: unknown, knownCredentials = false): VtpError {
  if (error instanceof VtpError) return error
  const name = failureName(error)
  const status = failureStatus(error)
  const make = (code: string, message: string, suggestions: string[], exitCode: 2 | 3 = EXIT.failed): VtpError =>
    new VtpError(message, { code, suggestions, exitCode, cause: error })
  const again = 'run the same command again: it continues'
  if (name === 'NoSuchBucket') {
    return make('s3_no_bucket', `${uri}: the bucket does not exist`, ['check the name of the bucket'], EXIT.usage)
  }
  if (name === 'InvalidBucketName') {
    return make('s3_no_bucket', `${uri}: that is not the name of a bucket`, ['write s3://bucket/prefix'], EXIT.usage)
  }
  if (name === 'KeyTooLongError') return make('s3_bad_key', `${uri.slice(0, 200)}…: the key is too long`, [])
  if (name === 'NoSuchKey' || name === 'NotFound' || status === 404) {
    return make('not_found', `${uri} does not exist`, [])
  }
  if (name === 'PreconditionFailed' || status === 412) {
    return make('s3_changed', `${uri} is not the object that was expected (its ETag differs)`, [])
  }
  if (isWithoutCredentials(error) && knownCredentials) {
    return make('s3_credentials_unavailable', `${operation} ${uri}: the credentials could not be renewed`, [
      `check that the role of this machine can be reached, then ${again}`,
    ])
  }
  if (isWithoutCredentials(error)) {
    return make(
      's3_no_credentials',
      `${uri}: no credentials were found`,
      [
        'set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile (AWS_PROFILE), or give the machine a role',
        'for a public bucket set AWS_NO_SIGN_REQUEST=YES',
      ],
      EXIT.usage,
    )
  }
  if (EXPIRED.test(name)) {
    return make('s3_credentials_expired', `${operation} ${uri}: the credentials have expired (${name})`, [
      `renew them, then ${again}`,
    ])
  }
  if (name === 'RequestTimeTooSkewed') {
    const theirs = (error as ServiceError).$response?.headers?.date
    return make(
      's3_clock_skew',
      `${operation} ${uri}: the clock of this machine is wrong (${new Date().toUTCString()} here${theirs ? `, ${theirs} at the server` : ''})`,
      [`set the clock (timedatectl set-ntp true), then ${again}`],
    )
  }
  if (/^(InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|AuthFailure)$/.test(name)) {
    return make('s3_bad_credentials', `${operation} ${uri}: the service refuses the credentials (${name})`, [
      'check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the profile',
    ])
  }
  if (name === 'AccessDenied' || status === 403) {
    return make('s3_access_denied', `${operation} ${uri}: access is denied`, [
      'check the permissions of these credentials (s3:ListBucket, s3:GetObject, s3:PutObject)',
      'for a bucket whose readers pay set AWS_REQUEST_PAYER=requester',
    ])
  }
  if (/^(PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraintException)$/.test(name)) {
    return make('s3_wrong_region', `${operation} ${uri}: the bucket lies in another region (${name})`, [
      'set AWS_REGION to the region of the bucket',
    ])
  }
  const what = status === undefined ? name : `${name}, status ${status}`
  if (classifyFailure(error) !== 'lasting') {
    return make('s3_unavailable', `${operation} ${uri}: the service did not answer as it should (${what})`, [
      `check AWS_ENDPOINT_URL and the network, then ${again}`,
    ])
  }
  return make('s3_failed', `${operation} ${uri} failed (${what})`, ['check the address and the permissions', again])
}
