/**
 * Addresses of images in lists and tables: paths (relative ones to the folder of the list), file://, s3:// and
 * http(s)://. One that is wrong becomes a bad entry, whose message never shows it: it may hold a secret.
 */
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Location } from '../../types.js'
import { redactUrl } from '../redact.js'
import { parseS3Uri } from '../s3/uri.js'
import { uriScheme } from '../store.js'
import { displayName } from './image-names.js'

/** Where an image lies, or why that makes no sense. */
export type Address =
  | { uri: string; at: Extract<Location, { kind: 'file' }> }
  /** An address that must not be stored; `uri` is what may be shown of it. */
  | { uri: string; secret: string }
  | { problem: string }

/** What is almost an address (`https:/x`, `https:x`, `x y://z`) is no path: it may hold a password. */
const ALMOST_ADDRESS = /^[^/]*:[/\\]|:[/\\]{2}|^(https?|ftp|s3):/i

/** The place of an address; `base` is the folder, bucket or repository of what names it. */
export function parseAddress(text: string, base: string): Address {
  const scheme = uriScheme(text)
  if (scheme === 'file') return fileAddress(text)
  if (scheme === 'http' || scheme === 'https') {
    if (!URL.canParse(text)) return { problem: 'it is not a valid address' }
    const { text: uri, secret } = redactUrl(text)
    return secret ? { uri, secret: text } : { uri, at: { kind: 'file', path: text } }
  }
  if (scheme === 's3') {
    if (/^s3:\/\/[^/]*@/i.test(text)) return { problem: 'the address holds credentials' }
    try {
      parseS3Uri(text)
    } catch {
      return { problem: 'the address names no bucket' }
    }
    return { uri: text, at: { kind: 'file', path: text } }
  }
  if (scheme) return { problem: `${scheme}:// is not supported` }
  if (text === '') return { problem: 'the path is empty' }
  if (text.includes('\0')) return { problem: 'the path holds a NUL character' }
  if (ALMOST_ADDRESS.test(text)) return { problem: 'it is neither a path nor a valid address' }
  // A list in a bucket names its neighbours.
  if (uriScheme(base) !== undefined && !path.isAbsolute(text)) {
    const uri = joinAddress(base, text)
    return { uri, at: { kind: 'file', path: uri } }
  }
  const file = path.resolve(base, text)
  return { uri: file, at: { kind: 'file', path: file } }
}

/** A relative path below an address; it does not lead out of the bucket or repository. */
export function joinAddress(base: string, relative: string): string {
  const [, root = base, folder = ''] = /^(s3:\/\/[^/]+|hf:\/\/datasets\/[^/]+\/[^/]+)(.*)$/i.exec(base) ?? []
  return root + path.posix.normalize(`${folder}/${relative}`.replace(/^\/*/, '/'))
}

function fileAddress(text: string): Address {
  try {
    const file = fileURLToPath(text)
    return { uri: file, at: { kind: 'file', path: file } }
  } catch {
    return { problem: 'it is not a valid file:// address' }
  }
}

/** A path whose bytes are not UTF-8. */
export function rawPathAddress(bytes: Buffer, base: string): Address {
  const absolute =
    bytes[0] === 0x2f ? bytes : Buffer.concat([Buffer.from(base.endsWith('/') ? base : `${base}/`), bytes])
  const uri = path.resolve(base, displayName(bytes))
  if (bytes.includes(0)) return { problem: 'the path holds a NUL character' }
  return { uri, at: { kind: 'file', path: uri, bytes: absolute.toString('base64') } }
}
