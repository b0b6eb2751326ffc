/**
 * The safetensors format: 8 bytes little-endian header length, a JSON header, then the tensors' bytes.
 * Header offsets are relative to the end of the header. Reading never trusts a number: lengths are
 * checked against the file, and tensors must cover the data exactly, in order, without overlap.
 * Format: github.com/huggingface/safetensors (README, "Format").
 */
import { type FileHandle, open } from 'node:fs/promises'
import * as z from 'zod'
import { errorText, VtpError } from '../errors.js'
import { bfloat16ToFloat32, float16ToFloat32 } from '../math/half.js'
import { readFully } from './read-fully.js'
import { DTYPE_BYTES, type SafetensorsDtype } from './safetensors-header.js'

export {
  DTYPE_BYTES,
  encodeSafetensorsHeader,
  type HeaderEntry,
  type SafetensorsDtype,
} from './safetensors-header.js'

export interface TensorInfo {
  name: string
  dtype: SafetensorsDtype
  shape: number[]
  /** Absolute byte range in the file. */
  offset: number
  bytes: number
}

export interface SafetensorsHeader {
  tensors: Map<string, TensorInfo>
  metadata: Record<string, string>
}

/** The official library's cap. */
const MAX_HEADER_BYTES = 100_000_000

const entrySchema = z.strictObject({
  dtype: z.enum(Object.keys(DTYPE_BYTES) as [SafetensorsDtype, ...SafetensorsDtype[]]),
  shape: z.array(z.int().nonnegative()),
  data_offsets: z.tuple([z.int().nonnegative(), z.int().nonnegative()]),
})

function damaged(file: string, what: string, cause?: unknown): VtpError {
  return new VtpError(`${file} is not a valid safetensors file: ${what}`, {
    code: 'bad_safetensors',
    suggestions: ['download or copy the file again: it may be truncated'],
    cause,
  })
}

/** Parses a header (the JSON part). `dataStart` and `fileBytes` are absolute. Throws VtpError `bad_safetensors`. */
export function parseSafetensorsHeader(
  json: string,
  dataStart: number,
  fileBytes: number,
  file: string,
): SafetensorsHeader {
  let raw: Map<string, unknown>
  try {
    const parsed: unknown = JSON.parse(json)
    if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
      throw new Error('the header is not a JSON object')
    raw = new Map(Object.entries(parsed))
  } catch (error) {
    throw damaged(file, `the header is not a JSON object (${errorText(error).slice(0, 80)})`, error)
  }
  const metadata = z.record(z.string(), z.string()).safeParse(raw.get('__metadata__') ?? {})
  if (!metadata.success) throw damaged(file, 'its __metadata__ holds other than text')
  raw.delete('__metadata__')
  const tensors: TensorInfo[] = []
  for (const [name, value] of raw) {
    const entry = entrySchema.safeParse(value)
    if (!entry.success)
      throw damaged(file, `the header entry of "${name}" is malformed (${entry.error.issues[0]?.message})`)
    const { dtype, shape, data_offsets: range } = entry.data
    const bytes = shape.reduce((a, b) => a * b, 1) * DTYPE_BYTES[dtype]
    if (!Number.isSafeInteger(bytes) || range[1] - range[0] !== bytes) {
      throw damaged(
        file,
        `"${name}" is ${dtype} [${shape}], ${bytes} bytes, but its range holds ${range[1] - range[0]}`,
      )
    }
    tensors.push({ name, dtype, shape, offset: dataStart + range[0], bytes })
  }
  tensors.sort((a, b) => a.offset - b.offset || a.bytes - b.bytes)
  let position = dataStart
  for (const tensor of tensors) {
    if (tensor.offset !== position)
      throw damaged(file, `"${tensor.name}" does not follow the tensor before it (gap or overlap)`)
    position += tensor.bytes
  }
  if (position !== fileBytes) {
    throw damaged(file, `its header describes ${position} bytes, but the file has ${fileBytes}`)
  }
  return { tensors: new Map(tensors.map((t) => [t.name, t])), metadata: metadata.data }
}

export interface SafetensorsFile extends SafetensorsHeader {
  readonly path: string
  /** The raw bytes of a tensor, or of a part of it. */
  readBytes(name: string, range?: { offset: number; bytes: number }): Promise<Uint8Array>
  /** A tensor widened to float32. Throws for types that are no floats. */
  readFloat32(name: string): Promise<Float32Array>
  close(): Promise<void>
}

/** Opens a file and reads its header only. Throws VtpError `bad_safetensors` or `file_unreadable`. */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  let handle: FileHandle
  try {
    handle = await open(path)
  } catch (error) {
    throw new VtpError(`${path} cannot be opened: ${errorText(error)}`, { code: 'file_unreadable', cause: error })
  }
  try {
    const { size } = await handle.stat()
    if (size < 8) throw damaged(path, `it has only ${size} bytes`)
    const prefix = Buffer.alloc(8)
    await handle.read(prefix, 0, 8, 0)
    const length = prefix.readBigUInt64LE()
    if (length > BigInt(MAX_HEADER_BYTES))
      throw damaged(path, `its header claims ${length} bytes (at most ${MAX_HEADER_BYTES})`)
    if (8 + Number(length) > size) throw damaged(path, `its header claims ${length} bytes, but the file has ${size}`)
    const json = Buffer.alloc(Number(length))
    if (!(await readFully(handle, json, 8))) throw damaged(path, 'it ended while it was read')
    const header = parseSafetensorsHeader(json.toString('utf8'), 8 + Number(length), size, path)
    const info = (name: string): TensorInfo => {
      const tensor = header.tensors.get(name)
      if (!tensor) throw damaged(path, `it has no tensor "${name}"`)
      return tensor
    }
    const readBytes = async (name: string, range?: { offset: number; bytes: number }): Promise<Uint8Array> => {
      const tensor = info(name)
      const out = Buffer.alloc(range?.bytes ?? tensor.bytes)
      if (!(await readFully(handle, out, tensor.offset + (range?.offset ?? 0))))
        throw damaged(path, 'it ended while it was read')
      return out
    }
    return {
      ...header,
      path,
      readBytes,
      readFloat32: async (name) => widenToFloat32(await readBytes(name), info(name)),
      close: () => handle.close(),
    }
  } catch (error) {
    await handle.close()
    throw error
  }
}

/** Little-endian bytes of a float tensor → float32 values. F64 is rounded, the others are exact. */
export function widenToFloat32(bytes: Uint8Array, info: Pick<TensorInfo, 'name' | 'dtype'>): Float32Array {
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice()
  const { buffer, byteOffset, byteLength } = aligned
  switch (info.dtype) {
    case 'F32':
      return new Float32Array(buffer, byteOffset, byteLength / 4)
    case 'F16':
      return float16ToFloat32(new Uint16Array(buffer, byteOffset, byteLength / 2))
    case 'BF16':
      return bfloat16ToFloat32(new Uint16Array(buffer, byteOffset, byteLength / 2))
    case 'F64':
      return Float32Array.from(new Float64Array(buffer, byteOffset, byteLength / 8))
    default:
      throw new VtpError(`The tensor "${info.name}" is ${info.dtype}; a float type was expected`, { code: 'bad_dtype' })
  }
}
