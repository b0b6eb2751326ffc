/** What the file system says, in words, with what to try. */
import { errorText, systemCode, VtpError } from '../errors.js'
import { finalName } from './atomic.js'

const ADVICE: Record<string, string[]> = {
  ENOSPC: ['free space on that disk and run the same command again: it continues'],
  EDQUOT: ['your disk quota is used up: free space and run the same command again'],
  EACCES: ['choose a folder that you may write to'],
  EPERM: ['choose a folder that you may write to'],
  EFBIG: ['raise the limit of file sizes (`ulimit -f`) and run the same command again: it continues'],
  EROFS: ['that file system is read-only: choose another folder'],
  EMFILE: ['raise the limit of open files (`ulimit -n`) and run the same command again'],
  ENAMETOOLONG: ['choose a folder with a shorter path'],
  ENOTDIR: ['choose a folder that you may write to'],
  EEXIST: ['choose a folder that you may write to'],
}

const WORDS: Record<string, string> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EFBIG: 'the file is larger than this process may write',
  EROFS: 'the file system is read-only',
  EMFILE: 'too many open files',
  ENOTDIR: 'a file is in its way',
  EEXIST: 'a file of that name is there',
}

/** A VtpError that says what failed and what to do; VtpErrors pass through. */
export function storageError(action: string, file: string, error: unknown): VtpError {
  if (error instanceof VtpError) return error
  const code = systemCode(error) ?? ''
  return new VtpError(`${action} ${finalName(file)}: ${WORDS[code] ?? errorText(error)}`, {
    code: code === 'ENOENT' ? 'not_found' : code ? `storage_${code.toLowerCase()}` : 'storage_failed',
    suggestions: ADVICE[code] ?? [],
    cause: error,
  })
}
