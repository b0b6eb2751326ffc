/**
 * Writes what `torch.save` leaves for a dict of tensors, readable by `torch.load` with and without
 * `weights_only`; the bytes depend on the values alone. A .pt file is a zip (stored, not compressed) of a
 * pickle and one file per tensor storage. Pickle opcodes: Python's Lib/pickletools.py; layout:
 * torch/serialization.py.
 */
import { crc32 } from 'node:zlib'

/** A float32 tensor in C order. */
export interface TensorToWrite {
  name: string
  shape: number[]
  data: Float32Array
}

const LE = (value: number, bytes: number): Buffer => {
  const out = Buffer.alloc(bytes)
  out.writeUIntLE(value, 0, bytes)
  return out
}

const text = (value: string): Buffer =>
  Buffer.concat([Buffer.from('X'), LE(Buffer.byteLength(value), 4), Buffer.from(value)])
const int = (value: number): Buffer =>
  value < 256 ? Buffer.concat([Buffer.from('K'), LE(value, 1)]) : Buffer.concat([Buffer.from('J'), LE(value, 4)])
const global = (module: string, name: string): Buffer => Buffer.from(`c${module}\n${name}\n`)
const MARK = Buffer.from('(')
const TUPLE = Buffer.from('t')
const EMPTY_TUPLE = Buffer.from(')')
const REDUCE = Buffer.from('R')

/** torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict()) */
function tensor(key: string, shape: number[], count: number): Buffer {
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

/** The bytes of a .pt file that holds a dict of tensors. `stem` is the name of the folder inside the container. */
export function encodeTorchFile(stem: string, tensors: TensorToWrite[]): Buffer {
  const items = tensors.flatMap(({ name, shape, data }, i) => [text(name), tensor(String(i), shape, data.length)])
  const pickle = Buffer.concat([Buffer.from([0x80, 2]), Buffer.from('}'), MARK, ...items, Buffer.from('u.')])
  return zipStored([
    [`${stem}/data.pkl`, pickle],
    [`${stem}/byteorder`, Buffer.from('little')],
    ...tensors.map(({ data }, i): [string, Buffer] => [
      `${stem}/data/${i}`,
      Buffer.from(data.buffer, data.byteOffset, data.byteLength),
    ]),
    [`${stem}/version`, Buffer.from('3\n')],
  ])
}

/** torch maps storages into memory, so their data starts at a multiple of 64. */
const ALIGN = 64

export function zipStored(files: [string, Buffer][]): Buffer {
  const parts: Buffer[] = []
  const directory: Buffer[] = []
  let offset = 0
  for (const [name, data] of files) {
    const nameBytes = Buffer.from(name)
    // Padding travels as an extra field ("FB", as torch's own), of at least its 4-byte head.
    const bare = offset + 30 + nameBytes.length + 4
    const padding = (ALIGN - (bare % ALIGN)) % ALIGN
    const extra = Buffer.concat([Buffer.from('FB'), LE(padding, 2), Buffer.alloc(padding, 'Z')])
    const common = Buffer.concat([
      LE(20, 2), // version needed
      LE(0, 2), // flags
      LE(0, 2), // stored
      LE(0, 2), // time
      LE(0x21, 2), // 1980-01-01
      LE(crc32(data), 4),
      LE(data.length, 4),
      LE(data.length, 4),
      LE(nameBytes.length, 2),
    ])
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), common, LE(extra.length, 2), nameBytes, extra, data])
    directory.push(
      Buffer.concat([
        Buffer.from('PK\x01\x02'),
        LE(20, 2),
        common,
        LE(0, 2), // extra
        LE(0, 2), // comment
        LE(0, 2), // disk
        LE(0, 2), // internal attributes
        LE(0, 4), // external attributes
        LE(offset, 4),
        nameBytes,
      ]),
    )
    parts.push(local)
    offset += local.length
  }
  const central = Buffer.concat(directory)
  const end = Buffer.concat([
    Buffer.from('PK\x05\x06'),
    LE(0, 4),
    LE(files.length, 2),
    LE(files.length, 2),
    LE(central.length, 4),
    LE(offset, 4),
    LE(0, 2),
  ])
  return Buffer.concat([...parts, central, end])
}
