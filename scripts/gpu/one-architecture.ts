/**
 * Empties, in ONNX Runtime's CUDA provider, the machine code of every GPU architecture but one, so that it compresses
 * to half. The file keeps its size and layout: the container of a kernel (fat binary) lists its code per architecture,
 * and CUDA reads the entry that fits the GPU. Entries of other architectures become zeros behind their headers.
 *
 *   npx tsx scripts/gpu/one-architecture.ts PROVIDER.so 90
 *
 * Layout of a fat binary, as found in the file: 16 bytes of header (magic number, version, header size u16 at 6, size of
 * the entries u64 at 8), then entries (kind u16 at 0, header size u32 at 4, size u64 at 8, architecture u32 at 28). A
 * file that is not laid out so is refused and left as it was.
 */
import { readFileSync, writeFileSync } from 'node:fs'

const MAGIC = 0xba55ed50
const MACHINE_CODE = 2

const [file, wanted] = process.argv.slice(2)
if (!file || !/^\d+$/.test(wanted ?? '')) throw new Error('usage: one-architecture.ts PROVIDER.so ARCHITECTURE')
const bytes = readFileSync(file)

interface Section {
  offset: number
  size: number
}

/** The section `.nv_fatbin` (ELF, 64 bits, little-endian; elf(5)). */
function fatBinaries(): Section {
  const [table, size, count, names] = [
    Number(bytes.readBigUInt64LE(40)),
    bytes.readUInt16LE(58),
    bytes.readUInt16LE(60),
    bytes.readUInt16LE(62),
  ]
  const section = (at: number) => ({
    name: bytes.readUInt32LE(table + at * size),
    offset: Number(bytes.readBigUInt64LE(table + at * size + 24)),
    size: Number(bytes.readBigUInt64LE(table + at * size + 32)),
  })
  const strings = section(names).offset
  for (let i = 0; i < count; i++) {
    const one = section(i)
    const start = strings + one.name
    if (bytes.toString('latin1', start, bytes.indexOf(0, start)) === '.nv_fatbin') return one
  }
  throw new Error(`${file} has no section .nv_fatbin`)
}

let [kept, emptied] = [0, 0]
const { offset, size } = fatBinaries()
for (let at = offset; at < offset + size; ) {
  if (bytes.readUInt32LE(at) === 0) {
    at += 8 // Between containers.
    continue
  }
  if (bytes.readUInt32LE(at) !== MAGIC) throw new Error(`no fat binary at byte ${at}`)
  let entry = at + bytes.readUInt16LE(at + 6)
  const end = entry + Number(bytes.readBigUInt64LE(at + 8))
  while (entry < end) {
    const code = entry + bytes.readUInt32LE(entry + 4)
    const next = code + Number(bytes.readBigUInt64LE(entry + 8))
    if (next > end) throw new Error(`an entry at byte ${entry} ends behind its container`)
    const isOther = bytes.readUInt16LE(entry) === MACHINE_CODE && bytes.readUInt32LE(entry + 28) !== Number(wanted)
    if (isOther) bytes.fill(0, code, next)
    if (isOther) emptied += next - code
    else kept += next - code
    entry = next
  }
  at = end
}
if (kept === 0) throw new Error(`${file} has no code for architecture ${wanted}`)
writeFileSync(file, bytes)
console.log(`architecture ${wanted}: ${(kept / 1e6).toFixed(0)} MB kept, ${(emptied / 1e6).toFixed(0)} MB emptied`)
