/**
 * A checkpoint on disk: `config.json` with `model.safetensors`, or with shards that
 * `model.safetensors.index.json` lists. Opening reads headers only.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { systemCode, VtpError } from '../../errors.js'
import { readCachedJson, writeCachedJson } from '../../io/cache.js'
import { openSafetensors, type SafetensorsFile, type TensorInfo } from '../../io/safetensors.js'
import { parseConfig, type VtpConfig } from './config.js'
import { checkTensors } from './tensors.js'

export interface Checkpoint {
  readonly folder: string
  readonly config: VtpConfig
  /** Every tensor of every file. */
  readonly tensors: ReadonlyMap<string, TensorInfo>
  /** A tensor widened to float32, in C order. */
  readFloat32(name: string): Promise<Float32Array>
  /** SHA-256 (hex) over the configuration's values and the weight files' bytes. */
  digest(cacheDir: string): Promise<string>
  close(): Promise<void>
}

const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) })

async function readText(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw new VtpError(`${file} cannot be read: ${(error as Error).message}`, { code: 'file_unreadable', cause: error })
  }
}

function missing(folder: string, what: string): VtpError {
  return new VtpError(`The model folder ${folder} has no ${what}`, {
    code: 'model_incomplete',
    exitCode: 2,
    suggestions: [
      'give the folder that holds config.json and model.safetensors',
      'or a hub id such as MiniMaxAI/VTP-Large-f16d64',
    ],
  })
}

/** The weight files of a folder, in a fixed order. Shard names never leave the folder. */
async function weightFiles(folder: string): Promise<string[]> {
  const single = path.join(folder, 'model.safetensors')
  if (await stat(single).catch(() => undefined)) return [single]
  const indexFile = `${single}.index.json`
  const text = await readText(indexFile)
  if (text === undefined) throw missing(folder, 'model.safetensors (nor model.safetensors.index.json)')
  let names: string[]
  try {
    names = [...new Set(Object.values(indexSchema.parse(JSON.parse(text)).weight_map))].sort()
  } catch (error) {
    throw new VtpError(`${indexFile} is no index of a sharded checkpoint`, { code: 'bad_index', cause: error })
  }
  for (const name of names) {
    if (path.basename(name) !== name || !name.endsWith('.safetensors')) {
      throw new VtpError(`${indexFile} names the file "${name}", which is no plain .safetensors name`, {
        code: 'bad_index',
      })
    }
    if (!(await stat(path.join(folder, name)).catch(() => undefined)))
      throw missing(folder, `${name} (its index lists it)`)
  }
  return names.map((name) => path.join(folder, name))
}

/** Opens and checks a checkpoint folder. Throws VtpErrors that name what is wrong. */
export async function openCheckpoint(folder: string): Promise<Checkpoint> {
  const configFile = path.join(folder, 'config.json')
  const text = await readText(configFile)
  if (text === undefined) throw missing(folder, 'config.json')
  const config = parseConfig(text, configFile)
  const paths = await weightFiles(folder)
  const files: SafetensorsFile[] = []
  const close = async (): Promise<void> => void (await Promise.allSettled(files.map((file) => file.close())))
  try {
    const tensors = new Map<string, TensorInfo>()
    const owner = new Map<string, SafetensorsFile>()
    for (const file of paths) {
      const opened = await openSafetensors(file)
      files.push(opened)
      for (const [name, tensor] of opened.tensors) {
        if (tensors.has(name))
          throw new VtpError(`${folder}: the tensor "${name}" is in two files`, { code: 'bad_checkpoint' })
        tensors.set(name, tensor)
        owner.set(name, opened)
      }
    }
    checkTensors(config, tensors, folder)
    return {
      folder,
      config,
      tensors,
      readFloat32: (name) => owner.get(name)!.readFloat32(name),
      digest: (cacheDir) => checkpointDigest(config, paths, cacheDir),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** Digest of one file's bytes, remembered by path, size and modification time. */
export async function fileDigest(file: string, cacheDir: string): Promise<string> {
  const { size, mtimeMs, ino } = await stat(file)
  const seen = `${path.resolve(file)}\n${size}\n${mtimeMs}\n${ino}`
  const entry = path.join(cacheDir, 'digests', `${createHash('sha256').update(seen).digest('hex').slice(0, 32)}.json`)
  const cached = await readCachedJson(entry)
  if (typeof cached === 'string' && /^[0-9a-f]{64}$/.test(cached)) return cached
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer)
  const digest = hash.digest('hex')
  await writeCachedJson(entry, digest)
  return digest
}

async function checkpointDigest(config: VtpConfig, files: string[], cacheDir: string): Promise<string> {
  const hash = createHash('sha256')
  const sorted = Object.entries(config).sort(([a], [b]) => (a < b ? -1 : 1))
  hash.update(JSON.stringify(sorted))
  for (const file of files) hash.update(`\n${path.basename(file)} ${await fileDigest(file, cacheDir)}`)
  return hash.digest('hex')
}
