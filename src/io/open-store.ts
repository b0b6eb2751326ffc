/** The store of an address: a folder, or a bucket's prefix, whose client is loaded when there is one. */
import { fileURLToPath } from 'node:url'
import { openLocalStore } from './local-store.js'
import { type Store, unsupportedScheme, uriScheme } from './store.js'

/** Opens a folder (made when it is absent, on the first write) or a URI. Throws usage error `unsupported_scheme`. */
export async function openStore(uri: string): Promise<Store> {
  const scheme = uriScheme(uri)
  if (scheme === undefined || scheme === 'file') return openLocalStore(scheme ? fileURLToPath(uri) : uri)
  if (scheme === 's3') return (await import('./s3-store.js')).openS3Store(uri)
  throw unsupportedScheme(uri, scheme)
}
