/**
 * Writes what `torch.save` leaves for plain data with tensors in it, readable by `torch.load` with and without
 * `weights_only`; the bytes depend on the values alone. A .pt file is a zip (stored, not compressed) of a pickle and
 * one file per tensor storage. Tensors are asked for one by one, so that memory stays near the largest. Pickle
 * opcodes: Python's Lib/pickletools.py; layout: torch/serialization.py.
 */
import { openZipWriter, zipStored } from '../zip-writer.js'

/** A float32 tensor in C order. */
export interface TensorToWrite {
  name: string
  shape: number[]
  data: Float32Array
}

/** A float32 tensor in C order whose values are read when its turn comes. */
export class LazyTensor {
  readonly shape: readonly number[]
  readonly read: () => Promise<Float32Array>
  constructor(shape: readonly number[], read: () => Promise<Float32Array>) {
    this.shape = shape
    this.read = read
  }
}

/** A Python tuple. */
export class PyTuple {
  readonly items: readonly Picklable[]
  constructor(...items: Picklable[]) {
    this.items = items
  }
}

/** A Python float, also where its value is whole. */
export class PyFloat {
  readonly value: number
  constructor(value: number) {
    this.value = value
  }
}

/** Maps and objects become dicts, arrays lists, whole numbers ints. */
export type Picklable =
  | null
  | boolean
  | number
  | string
  | LazyTensor
  | PyTuple
  | PyFloat
  | readonly Picklable[]
  | ReadonlyMap<string | number, Picklable>
  | { readonly [key: string]: Picklable }

const LE = (value: number, bytes: number): Buffer => {
  const out = Buffer.alloc(bytes)
  out.writeUIntLE(value, 0, bytes)
  return out
}

const text = (value: string): Buffer =>
  Buffer.concat([Buffer.from('X'), LE(Buffer.byteLength(value), 4), Buffer.from(value)])

function int(value: number): Buffer {
  if (value >= 0 && value < 256) return Buffer.concat([Buffer.from('K'), LE(value, 1)])
  const out = Buffer.alloc(5)
  if (value >= -(2 ** 31) && value < 2 ** 31) {
    out.write('J')
    out.writeInt32LE(value, 1)
    return out
  }
  const wide = Buffer.alloc(10)
  wide[0] = 0x8a // LONG1
  wide[1] = 8
  wide.writeBigInt64LE(BigInt(value), 2)
  return wide
}

function float(value: number): Buffer {
  const out = Buffer.alloc(9)
  out.write('G')
  out.writeDoubleBE(value, 1)
  return out
}

const global = (module: string, name: string): Buffer => Buffer.from(`c${module}\n${name}\n`)
const MARK = Buffer.from('(')
const TUPLE = Buffer.from('t')
const EMPTY_TUPLE = Buffer.from(')')
const REDUCE = Buffer.from('R')

/** torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict()) */
function tensor(key: string, shape: readonly number[], count: number): Buffer {
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1))
  return Buffer.concat([
    global('torch._utils', '_rebuild_tensor_v2'),
    MARK,
    Buffer.concat([
      MARK,
      text('storage'),
      global('torch', 'FloatStorage'),
      text(key),
      text('cpu'),
      int(count),
      TUPLE,
      Buffer.from('Q'),
    ]),
    int(0),
    Buffer.concat([MARK, ...shape.map(int), TUPLE]),
    Buffer.concat([MARK, ...strides.map(int), TUPLE]),
    Buffer.from([0x89]), // False
    Buffer.concat([global('collections', 'OrderedDict'), EMPTY_TUPLE, REDUCE]),
    TUPLE,
    REDUCE,
  ])
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1)

/** Appends a value's opcodes; tensors are numbered in the order of their appearance. */
function append(value: Picklable, out: Buffer[], tensors: LazyTensor[]): void {
  const items = (open: string, values: readonly Picklable[], close: string): void => {
    out.push(Buffer.from(open))
    for (const each of values) append(each, out, tensors)
    out.push(Buffer.from(close))
  }
  if (value === null) out.push(Buffer.from('N'))
  else if (typeof value === 'boolean') out.push(Buffer.from([value ? 0x88 : 0x89]))
  else if (typeof value === 'number') out.push(Number.isSafeInteger(value) ? int(value) : float(value))
  else if (typeof value === 'string') out.push(text(value))
  else if (value instanceof PyFloat) out.push(float(value.value))
  else if (value instanceof LazyTensor) {
    out.push(tensor(String(tensors.length), value.shape, sizeOf(value.shape)))
    tensors.push(value)
  } else if (value instanceof PyTuple) items('(', value.items, 't')
  else if (Array.isArray(value)) items('](', value as readonly Picklable[], 'e')
  else {
    const entries = value instanceof Map ? [...value] : Object.entries(value as Record<string, Picklable>)
    items('}(', entries.flat() as Picklable[], 'u')
  }
}

function pickle(value: Picklable): { bytes: Buffer; tensors: LazyTensor[] } {
  const out = [Buffer.from([0x80, 2])]
  const tensors: LazyTensor[] = []
  append(value, out, tensors)
  out.push(Buffer.from('.'))
  return { bytes: Buffer.concat(out), tensors }
}

const bytesOf = (data: Float32Array): Buffer => Buffer.from(data.buffer, data.byteOffset, data.byteLength)

/** Writes a .pt file front to back. `stem` is the name of the folder inside the container. */
export async function writeTorchFile(
  stem: string,
  value: Picklable,
  write: (bytes: Uint8Array) => void | Promise<void>,
): Promise<void> {
  const { bytes, tensors } = pickle(value)
  const zip = openZipWriter(write)
  await zip.add(`${stem}/data.pkl`, bytes)
  await zip.add(`${stem}/byteorder`, Buffer.from('little'))
  for (const [i, each] of tensors.entries()) await zip.add(`${stem}/data/${i}`, bytesOf(await each.read()))
  await zip.add(`${stem}/version`, Buffer.from('3\n'))
  await zip.finish()
}

/** The bytes of a .pt file that holds a dict of tensors. */
export function encodeTorchFile(stem: string, tensors: TensorToWrite[]): Buffer {
  const dict = new Map(tensors.map(({ name, shape, data }) => [name, new LazyTensor(shape, async () => data)]))
  return zipStored([
    [`${stem}/data.pkl`, pickle(dict).bytes],
    [`${stem}/byteorder`, Buffer.from('little')],
    ...tensors.map(({ data }, i): [string, Uint8Array] => [`${stem}/data/${i}`, bytesOf(data)]),
    [`${stem}/version`, Buffer.from('3\n')],
  ])
}
