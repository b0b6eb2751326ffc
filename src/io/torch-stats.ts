/**
 * Writes `latents_stats.pt`: what `torch.save({'mean': …, 'std': …})` leaves, readable by `torch.load`
 * with and without `weights_only`. A .pt file is a zip (stored, not compressed) of a pickle and one file
 * per tensor storage. Pickle opcodes: Python's Lib/pickletools.py; layout: torch/serialization.py.
 */
import { crc32 } from 'node:zlib'

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

/** torch._utils._rebuild_tensor_v2(storage, 0, (1, C, 1, 1), strides, False, OrderedDict()) */
function tensor(key: string, channels: number): Buffer {
  return Buffer.concat([
    global('torch._utils', '_rebuild_tensor_v2'),
    MARK,
    Buffer.concat([
      MARK,
      text('storage'),
      global('torch', 'FloatStorage'),
      text(key),
      text('cpu'),
      int(channels),
      TUPLE,
      Buffer.from('Q'),
    ]),
    int(0),
    Buffer.concat([MARK, int(1), int(channels), int(1), int(1), TUPLE]),
    Buffer.concat([MARK, int(channels), int(1), int(1), int(1), TUPLE]),
    Buffer.from([0x89]), // False
    Buffer.concat([global('collections', 'OrderedDict'), EMPTY_TUPLE, REDUCE]),
    TUPLE,
    REDUCE,
  ])
}

function pickle(channels: number): Buffer {
  return Buffer.concat([
    Buffer.from([0x80, 2]),
    Buffer.from('}'),
    MARK,
    text('mean'),
    tensor('0', channels),
    text('std'),
    tensor('1', channels),
    Buffer.from('u.'),
  ])
}

/** Tensors [1, C, 1, 1] float32 of means and standard deviations → the bytes of a .pt file, always the same ones. */
export function encodeLatentsStats(mean: Float32Array, std: Float32Array): Uint8Array {
  const floats = (values: Float32Array): Buffer => Buffer.from(values.buffer, values.byteOffset, values.byteLength)
  return zipStored([
    ['latents_stats/data.pkl', pickle(mean.length)],
    ['latents_stats/byteorder', Buffer.from('little')],
    ['latents_stats/data/0', floats(mean)],
    ['latents_stats/data/1', floats(std)],
    ['latents_stats/version', Buffer.from('3\n')],
  ])
}

/** torch maps storages into memory, so their data starts at a multiple of 64. */
const ALIGN = 64

function zipStored(files: [string, Buffer][]): Buffer {
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
