/**
 * What the hub says about a model or a dataset, by its HTTP interface: the commit that a revision points to, and the files of a
 * commit with their sizes and hashes (a list in pages, linked by RFC 8288 headers).
 *
 * @huggingface/hub is not used. These are two requests; its download starts again from the first byte after a cut
 * connection and compares no hash, so that model/hub/download.ts was needed beside it anyway.
 */
import * as z from 'zod'
import { HubNetworkError } from './errors.js'

const infoSchema = z.object({ sha: z.string() })
const treeSchema = z.array(
  z.object({
    type: z.string(),
    path: z.string(),
    size: z.number(),
    /** git's SHA-1 of a small file. */
    oid: z.string().optional(),
    /** Of a large file: its SHA-256. */
    lfs: z.object({ oid: z.string(), size: z.number() }).optional(),
  }),
)
/** A million files: far more than any model has, and more than a dataset should. */
const MAX_PAGES = 1000

export interface RemoteFile {
  /** Name in the repository. */
  name: string
  /** The address that answers with the bytes (by way of redirects). */
  url: string
  size: number
  /** Hex. */
  etag: string
  hash: 'sha256' | 'git-sha1'
}

export interface Hub {
  /** What its repositories are. */
  kind: 'models' | 'datasets'
  /** Without a slash at the end. */
  endpoint: string
  /** Throws HubStatusError and HubNetworkError. */
  fetch: typeof fetch
}

async function ask<T>(hub: Hub, url: string, schema: z.ZodType<T>): Promise<{ value: T; next: string | undefined }> {
  const response = await hub.fetch(url)
  // The answer can end early, and a page that asks for a login is not one of the hub's.
  const body: unknown = await response.json().catch((error: unknown) => {
    throw new HubNetworkError(url, error)
  })
  const parsed = schema.safeParse(body)
  if (!parsed.success) throw new HubNetworkError(url, new Error('the answer is not one of a hub'))
  const link = /<([^>]+)>\s*;\s*rel="?next"?/.exec(response.headers.get('link') ?? '')?.[1]
  return { value: parsed.data, next: link === undefined ? undefined : new URL(link, url).href }
}

/** The commit that a branch, a tag or a commit's name stands for, as the hub writes it. */
export async function commitOf(hub: Hub, repo: string, revision: string): Promise<string> {
  const url = `${hub.endpoint}/api/${hub.kind}/${repo}/revision/${encodeURIComponent(revision)}`
  return (await ask(hub, url, infoSchema)).value.sha
}

/** The files of a commit, by name. */
export async function filesOf(hub: Hub, repo: string, commit: string): Promise<Map<string, RemoteFile>> {
  const files = new Map<string, RemoteFile>()
  let url: string | undefined = `${hub.endpoint}/api/${hub.kind}/${repo}/tree/${commit}?recursive=true`
  for (let page = 0; url !== undefined; page++) {
    if (page === MAX_PAGES) throw new HubNetworkError(url, new Error(`the list of files has over ${MAX_PAGES} pages`))
    const { value, next }: { value: z.infer<typeof treeSchema>; next: string | undefined } = await ask(
      hub,
      url,
      treeSchema,
    )
    for (const { type, path, size, oid, lfs } of value) {
      if (type !== 'file' || !oid) continue
      files.set(path, {
        name: path,
        url: resolveUrl(hub, repo, commit, path),
        size: lfs?.size ?? size,
        etag: lfs?.oid ?? oid,
        hash: lfs ? 'sha256' : 'git-sha1',
      })
    }
    url = next
  }
  return files
}

/** The address of a file's bytes. */
export function resolveUrl(
  { endpoint, kind }: Pick<Hub, 'endpoint' | 'kind'>,
  repo: string,
  commit: string,
  name: string,
): string {
  return `${endpoint}${kind === 'datasets' ? '/datasets' : ''}/${repo}/resolve/${commit}/${name}`
}
