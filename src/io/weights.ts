/**
 * The tensors of a checkpoint by name, whatever holds them: one file or shards that an index lists, safetensors or
 * what torch.save writes (`.bin`, `.pt`, `.pth`, `.ckpt`, by the restricted reader: no code runs). Opening reads
 * headers only; shard names never leave the folder.
 */
import { readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import * as z from 'zod'
import { EXIT, systemCode, VtpError } from '../errors.js'
import { openTensorFile, type TensorFile } from './tensor-file.js'

export interface StoredTensor {
  readonly name: string
  /** As the file calls it: F32, BF16, … (safetensors), float32, bfloat16, … (torch). */
  readonly dtype: string
  readonly shape: readonly number[]
}

export interface Weights {
  /** The files of tensors, absolute, in a fixed order: what a digest covers. */
  readonly files: readonly string[]
  readonly tensors: ReadonlyMap<string, StoredTensor>
  /** A tensor widened to float32, in C order. Throws VtpError `bad_checkpoint` for a name that is not there. */
  readFloat32(name: string): Promise<Float32Array>
  /** Values of an integer tensor. Throws usage error `bad_dtype` for floats. */
  readIntegers(name: string): Promise<number[]>
  close(): Promise<void>
}

/** What Hugging Face's libraries write, best first. */
export const HUB_WEIGHTS = [
  'model.safetensors',
  'model.safetensors.index.json',
  'pytorch_model.bin',
  'pytorch_model.bin.index.json',
] as const

/** The first of `wanted` that is among `files`. */
export function pickWeights(files: readonly string[], wanted: readonly string[] = HUB_WEIGHTS): string | undefined {
  return wanted.find((name) => files.includes(name))
}

/** Whether a tensor holds floating-point numbers. */
export function isFloat({ dtype }: Pick<StoredTensor, 'dtype'>): boolean {
  return /^(F|BF|float|bfloat)\d/.test(dtype)
}

const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) })

/** The shards that the text of an index lists, sorted. Throws VtpError `bad_index`. */
export function indexedShards(text: string, indexFile: string): string[] {
  let names: string[]
  try {
    names = [...new Set(Object.values(indexSchema.parse(JSON.parse(text)).weight_map))].sort()
  } catch (error) {
    throw new VtpError(`${indexFile} is not an index of a sharded checkpoint`, { code: 'bad_index', cause: error })
  }
  for (const name of names) {
    if (path.basename(name) === name && /^[\w][\w.-]*\.(safetensors|bin)$/.test(name)) continue
    throw new VtpError(`${indexFile} names the file "${name}", which is not a plain name of a weight file`, {
      code: 'bad_index',
    })
  }
  return names
}

/** Throws VtpError `model_incomplete` for what is missing. */
export function missingFile(folder: string, what: string): VtpError {
  return new VtpError(`The model folder ${folder} has no ${what}`, {
    code: 'model_incomplete',
    exitCode: EXIT.usage,
    suggestions: [
      'give the folder that holds config.json and model.safetensors',
      'or a hub id such as MiniMaxAI/VTP-Large-f16d64',
    ],
  })
}

async function weightFiles(folder: string, name: string): Promise<string[]> {
  const file = path.join(folder, name)
  if (!name.endsWith('.index.json')) return [file]
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') throw missingFile(folder, name)
    throw new VtpError(`${file} cannot be read: ${(error as Error).message}`, { code: 'file_unreadable', cause: error })
  })
  const shards = indexedShards(text, file).map((shard) => path.join(path.dirname(file), shard))
  for (const shard of shards) {
    if (!(await stat(shard).catch(() => undefined)))
      throw missingFile(folder, `${path.basename(shard)} (its index lists it)`)
  }
  return shards
}

/** A name without what DistributedDataParallel and torch.compile put before it; for `rename`. */
export function withoutWrappers(stored: string): string {
  return stored.replace(/^(module\.|_orig_mod\.)+/, '')
}

export interface WeightsOptions {
  /** Where a torch file keeps its state dict, best first: `ema`, `state_dict`, `trainer.unitok`; else at its top. */
  keys?: string[]
  /** The name that a stored name stands for; undefined: the tensor is left out. */
  rename?: (stored: string) => string | undefined
}

/** Opens `name` of a folder: a file of weights, or an index and its shards. */
export async function openWeights(folder: string, name: string, options: WeightsOptions = {}): Promise<Weights> {
  const files = await weightFiles(folder, name)
  const opened: TensorFile[] = []
  const close = async (): Promise<void> => void (await Promise.allSettled(opened.map((file) => file.close())))
  try {
    const tensors = new Map<string, StoredTensor>()
    const places = new Map<string, { file: TensorFile; stored: string }>()
    for (const path of files) {
      const file = await openTensorFile(path, options.keys)
      opened.push(file)
      for (const [stored, shape] of file.shapes) {
        const name = options.rename ? options.rename(stored) : stored
        if (name === undefined) continue
        if (tensors.has(name)) {
          throw new VtpError(`${folder}: the tensor "${name}" is there twice`, { code: 'bad_checkpoint' })
        }
        tensors.set(name, { name, shape, dtype: file.dtypes.get(stored)! })
        places.set(name, { file, stored })
      }
    }
    const placeOf = (name: string): { file: TensorFile; stored: string } => {
      const place = places.get(name)
      if (place) return place
      throw new VtpError(`${folder} has no tensor "${name}"`, { code: 'bad_checkpoint', exitCode: EXIT.usage })
    }
    return {
      files,
      tensors,
      async readFloat32(name) {
        const { file, stored } = placeOf(name)
        return file.readFloat32(stored)
      },
      async readIntegers(name) {
        const { file, stored } = placeOf(name)
        return file.readIntegers(stored)
      },
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}
