/**
 * The published weights of the networks that metrics need: where they are, and that they are the right
 * ones. Looked for in `--weights DIR`, then in vtp's cache and torch.hub's, then downloaded from their
 * public address; a download is kept only if its SHA-256 is the known one. A file in `--weights DIR` may
 * be another one (own training, tests): it is used, and the protocol says so.
 */
import { readdir, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import path from 'node:path'
import { errorText, VtpError } from '../../errors.js'
import { fileDigest } from '../../io/file-digest.js'
import { downloadWeights, type PublishedWeights, type WeightsDownloadOptions } from './download.js'

interface KnownWeights extends PublishedWeights {
  /** Other names that the file has elsewhere. */
  aliases: RegExp
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
} as const satisfies Record<string, KnownWeights>
export type WeightsName = keyof typeof WEIGHTS

export interface WeightsOptions extends WeightsDownloadOptions {
  /** `--weights DIR`. */
  dir?: string
  cacheDir: string
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
  const found = await findWeights(name, options)
  if (found) return found
  const known: KnownWeights = WEIGHTS[name]
  const cached = cachedFile(known, options)
  await downloadWeights(known, cached, options)
  return { name, path: cached, sha256: known.sha256, published: true }
}

const cachedFile = ({ file }: KnownWeights, { cacheDir }: WeightsOptions): string =>
  path.join(cacheDir, 'weights', file)

/** A file of weights on this machine; undefined where there is none. Throws VtpError `weights_missing` for a folder that cannot be read. */
export async function findWeights(name: WeightsName, options: WeightsOptions): Promise<WeightsFile | undefined> {
  const known: KnownWeights = WEIGHTS[name]
  const found = options.dir === undefined ? undefined : await findIn(options.dir, known)
  if (found) {
    const sha256 = await fileDigest(found, options.cacheDir)
    return { name, path: found, sha256, published: sha256 === known.sha256 }
  }
  for (const file of [cachedFile(known, options), path.join(torchHome(), 'hub', 'checkpoints', known.file)]) {
    if (!(await stat(file).catch(() => undefined))) continue
    const sha256 = await fileDigest(file, options.cacheDir)
    if (sha256 === known.sha256) return { name, path: file, sha256, published: true }
  }
  return undefined
}

function torchHome(): string {
  const { TORCH_HOME, XDG_CACHE_HOME } = process.env
  return TORCH_HOME || path.join(XDG_CACHE_HOME || path.join(homedir(), '.cache'), 'torch')
}

async function findIn(dir: string, known: KnownWeights): Promise<string | undefined> {
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

/** For protocols: "pt_inception-….pth" or, for another file, its name and digest. */
export function describeWeights(weights: WeightsFile): string {
  const base = path.basename(weights.path)
  return weights.published
    ? WEIGHTS[weights.name].file
    : `${base} (not the published file, sha256 ${weights.sha256.slice(0, 12)}…)`
}
