/**
 * The published weights of the networks that metrics need: where they are, and that they are the right
 * ones. Looked for in `--weights DIR`, then in vtp's cache and torch.hub's, then downloaded from their
 * public address; a download is kept only if its SHA-256 is the known one. A file in `--weights DIR` may
 * be another one (own training, tests): it is used, and the protocol says so.
 */
import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, readdir, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { errorText, VtpError } from '../../errors.js'
import { writeAtomically } from '../../model/cache.js'
import { fileDigest } from '../../model/checkpoint.js'

export interface PublishedWeights {
  /** For messages. */
  title: string
  file: string
  /** Other names that the file has elsewhere. */
  aliases: RegExp
  url: string
  sha256: string
  bytes: number
}

export const WEIGHTS = {
  inception: {
    title: 'Inception-v3 (pytorch-fid)',
    file: 'pt_inception-2015-12-05-6726825d.pth',
    aliases: /^(pt_|weights-)?inception[\w.-]*\.(pth|pt)$/i,
    url: 'https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth',
    sha256: '6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2',
    bytes: 95_628_359,
  },
  vgg16: {
    title: 'VGG16 (torchvision)',
    file: 'vgg16-397923af.pth',
    aliases: /^vgg16[\w.-]*\.(pth|pt)$/i,
    url: 'https://download.pytorch.org/models/vgg16-397923af.pth',
    sha256: '397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0',
    bytes: 553_433_881,
  },
  lpips: {
    title: 'LPIPS 0.1 linear layers (VGG)',
    file: 'vgg.pth',
    aliases: /^(vgg_lpips|lpips[\w.-]*)\.(pth|pt)$/i,
    url: 'https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/vgg.pth',
    sha256: 'a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868',
    bytes: 7_289,
  },
} as const satisfies Record<string, PublishedWeights>
export type WeightsName = keyof typeof WEIGHTS

export interface WeightsOptions {
  /** `--weights DIR`. */
  dir?: string
  cacheDir: string
  /** Replaces the part before the file's name in every address (a mirror; `VTP_WEIGHTS_URL`). */
  baseUrl?: string
  onNote?: (line: string) => void
  signal?: AbortSignal
}

export interface WeightsFile {
  name: WeightsName
  path: string
  sha256: string
  /** Whether it is the published file, bit for bit. */
  published: boolean
}

/** Finds or downloads a file of weights. Throws VtpError `weights_missing` or `weights_corrupt`. */
export async function resolveWeights(name: WeightsName, options: WeightsOptions): Promise<WeightsFile> {
  const known: PublishedWeights = WEIGHTS[name]
  const found = options.dir === undefined ? undefined : await findIn(options.dir, known)
  if (found) {
    const sha256 = await fileDigest(found, options.cacheDir)
    return { name, path: found, sha256, published: sha256 === known.sha256 }
  }
  const cached = path.join(options.cacheDir, 'weights', known.file)
  for (const file of [cached, path.join(torchHome(), 'hub', 'checkpoints', known.file)]) {
    if (!(await stat(file).catch(() => undefined))) continue
    const sha256 = await fileDigest(file, options.cacheDir)
    if (sha256 === known.sha256) return { name, path: file, sha256, published: true }
  }
  await download(known, cached, options)
  return { name, path: cached, sha256: known.sha256, published: true }
}

function torchHome(): string {
  const { TORCH_HOME, XDG_CACHE_HOME } = process.env
  return TORCH_HOME || path.join(XDG_CACHE_HOME || path.join(homedir(), '.cache'), 'torch')
}

async function findIn(dir: string, known: PublishedWeights): Promise<string | undefined> {
  const names = await readdir(dir).catch((error: unknown) => {
    throw new VtpError(`--weights ${dir} cannot be read: ${errorText(error)}`, {
      code: 'weights_missing',
      exitCode: 2,
      suggestions: [`give the folder that holds ${known.file}`],
    })
  })
  const name = names.includes(known.file) ? known.file : names.sort().find((entry) => known.aliases.test(entry))
  return name === undefined ? undefined : path.join(dir, name)
}

async function download(known: PublishedWeights, to: string, options: WeightsOptions): Promise<void> {
  const url = options.baseUrl ? `${options.baseUrl.replace(/\/+$/, '')}/${known.file}` : known.url
  options.onNote?.(`Downloading ${known.title}, ${(known.bytes / 1e6).toFixed(known.bytes < 1e6 ? 3 : 0)} MB: ${url}`)
  const unreachable = (why: string, cause?: unknown): VtpError =>
    new VtpError(`The weights of ${known.title} are not here, and ${url} cannot be downloaded: ${why}`, {
      code: 'weights_missing',
      suggestions: [
        `download the file elsewhere, put it into a folder as ${known.file}, and pass --weights FOLDER`,
        'or set VTP_WEIGHTS_URL to a mirror that has it under this name',
      ],
      cause,
    })
  await mkdir(path.dirname(to), { recursive: true })
  let response: Response
  try {
    response = await fetch(url, { signal: options.signal })
  } catch (error) {
    if (options.signal?.aborted) throw error
    const cause = (error as { cause?: unknown }).cause
    throw unreachable(errorText(cause ?? error), error)
  }
  if (!response.ok || !response.body) throw unreachable(`the server answered ${response.status} ${response.statusText}`)
  const body = response.body
  const hash = createHash('sha256')
  await writeAtomically(to, async (tmp) => {
    try {
      const counted = async function* (chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
        for await (const chunk of chunks) {
          hash.update(chunk)
          yield chunk
        }
      }
      await pipeline(Readable.fromWeb(body as never), counted, createWriteStream(tmp))
    } catch (error) {
      if (options.signal?.aborted) throw error
      throw unreachable(`the connection broke (${errorText(error)})`, error)
    }
    const got = hash.digest('hex')
    if (got === known.sha256) return
    throw new VtpError(`${url} is not the known file: its SHA-256 is ${got}, expected ${known.sha256}`, {
      code: 'weights_corrupt',
      suggestions: ['try again; if it repeats, a proxy may be answering instead of the server'],
    })
  })
}

/** For protocols: "pt_inception-….pth" or, for another file, its name and digest. */
export function describeWeights(weights: WeightsFile): string {
  const base = path.basename(weights.path)
  return weights.published
    ? WEIGHTS[weights.name].file
    : `${base} (not the published file, sha256 ${weights.sha256.slice(0, 12)}…)`
}
