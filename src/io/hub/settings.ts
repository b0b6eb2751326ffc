/**
 * Where models come from and where they are kept: the settings of the hub client, under the names that
 * every Hugging Face tool reads (`HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`).
 */
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import path from 'node:path'
import { usageError } from '../../errors.js'

export interface HubSettings {
  /** The folder that holds `models--org--name`. */
  cacheDir: string
  /** Without a slash at the end. */
  endpoint: string
  token: string | undefined
  offline: boolean
}

export interface HubOptions {
  cacheDir?: string
  endpoint?: string
  token?: string
  offline?: boolean
}

const YES = /^(1|true|yes|on)$/i

function homeDir(env: NodeJS.ProcessEnv): string {
  return env.HF_HOME || path.join(env.XDG_CACHE_HOME || path.join(homedir(), '.cache'), 'huggingface')
}

/** The hub's cache folder, as huggingface_hub (Python) finds it. */
export function hubCacheDir(env: NodeJS.ProcessEnv = process.env): string {
  return env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || path.join(homeDir(env), 'hub')
}

/** Options win over the environment. Throws a usage error for an endpoint that is no plain http(s) address. */
export async function hubSettings(
  options: HubOptions = {},
  env: NodeJS.ProcessEnv = process.env,
): Promise<HubSettings> {
  return {
    cacheDir: path.resolve(options.cacheDir ?? hubCacheDir(env)),
    endpoint: checkEndpoint(options.endpoint ?? (env.HF_ENDPOINT || 'https://huggingface.co')),
    token: options.token ?? (await readToken(env)),
    offline: options.offline ?? (YES.test(env.HF_HUB_OFFLINE ?? '') || YES.test(env.TRANSFORMERS_OFFLINE ?? '')),
  }
}

function checkEndpoint(text: string): string {
  let url: URL
  try {
    url = new URL(text)
  } catch {
    throw usageError(
      'bad_hub_endpoint',
      `HF_ENDPOINT is not an address: ${JSON.stringify(text.replace(/\/\/[^/]*@/, '//'))}`,
      ['write e.g. https://huggingface.co, or leave it out'],
    )
  }
  if (!/^https?:$/.test(url.protocol) || url.username || url.password || url.search || url.hash) {
    throw usageError('bad_hub_endpoint', `HF_ENDPOINT must be a plain http(s) address (host ${url.host})`, [
      'leave user names, passwords and queries out; a token goes into HF_TOKEN',
    ])
  }
  return text.replace(/\/+$/, '')
}

async function readToken(env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const given = (env.HF_TOKEN || env.HUGGING_FACE_HUB_TOKEN || '').trim()
  if (given) return given
  if (YES.test(env.HF_HUB_DISABLE_IMPLICIT_TOKEN ?? '')) return undefined
  const file = env.HF_TOKEN_PATH || path.join(homeDir(env), 'token')
  const text = (await readFile(file, 'utf8').catch(() => '')).trim()
  return text || undefined
}
