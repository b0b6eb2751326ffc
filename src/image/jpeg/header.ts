/**
 * The headers of a JPEG file as far as the decoder of this folder needs them: baseline, Huffman codes, one
 * scan, grey or YCbCr with chroma at full, half width or half size. Undefined for every other file, damaged
 * ones included: libjpeg-turbo then decides. Format: ITU-T T.81, annex B; colours: libjpeg's jdapimin.c.
 */

const [SOF0, SOF1, SOI, SOS, DQT, DHT, DRI, COM] = [0xc0, 0xc1, 0xd8, 0xda, 0xdb, 0xc4, 0xdd, 0xfe]

/** libjpeg refuses longer sides. */
const MAX_SIDE = 65500

export interface JpegComponent {
  id: number
  across: number
  down: number
  quant: number
  dc: number
  ac: number
}

export interface JpegHeader {
  width: number
  height: number
  components: JpegComponent[]
  /** Luma samples per chroma sample. */
  across: number
  down: number
  /** 64 quantisers in zigzag order, by number. */
  quantisers: (Uint16Array | undefined)[]
  /** 16 counts and the symbols, by number: four DC tables, then four AC tables. */
  huffman: (Uint8Array | undefined)[]
  restartInterval: number
  /** Where the entropy-coded bytes start. */
  scanAt: number
}

/** Reads the headers up to the first scan. */
export function readJpegHeader(bytes: Uint8Array): JpegHeader | undefined {
  const header: JpegHeader = {
    width: 0,
    height: 0,
    components: [],
    across: 1,
    down: 1,
    quantisers: [],
    huffman: [],
    restartInterval: 0,
    scanAt: 0,
  }
  let [jfif, adobe]: [boolean, number | undefined] = [false, undefined]
  if (bytes[0] !== 0xff || bytes[1] !== SOI) return undefined
  for (let at = 2; ; ) {
    if (at + 4 > bytes.length || bytes[at] !== 0xff) return undefined
    const code = bytes[at + 1]!
    const end = at + 2 + ((bytes[at + 2]! << 8) | bytes[at + 3]!)
    if (end < at + 4 || end > bytes.length) return undefined
    const body = bytes.subarray(at + 4, end)
    at = end
    if (code === SOS) {
      if (!readScan(body, header) || !isYcc(header, jfif, adobe)) return undefined
      return { ...header, scanAt: end }
    }
    if (code === SOF0 || code === SOF1) {
      if (header.components.length > 0 || !readFrame(body, header)) return undefined
    } else if (code === DQT) {
      if (!readQuantisers(body, header)) return undefined
    } else if (code === DHT) {
      if (!readHuffman(body, header)) return undefined
    } else if (code === DRI) {
      if (body.length !== 2) return undefined
      header.restartInterval = (body[0]! << 8) | body[1]!
    } else if (code >= 0xe0 && code <= 0xef) {
      if (code === 0xe0 && body.length >= 14 && startsWith(body, 'JFIF\0')) jfif = true
      if (code === 0xee && body.length >= 12 && startsWith(body, 'Adobe')) adobe = body[11]!
    } else if (code !== COM) return undefined
  }
}

const startsWith = (body: Uint8Array, text: string): boolean =>
  Buffer.from(body.subarray(0, text.length)).equals(Buffer.from(text, 'latin1'))

function readFrame(body: Uint8Array, header: JpegHeader): boolean {
  const count = body[5]!
  if (body.length !== 6 + 3 * count || body[0] !== 8 || (count !== 1 && count !== 3)) return false
  header.height = (body[1]! << 8) | body[2]!
  header.width = (body[3]! << 8) | body[4]!
  for (let i = 0; i < count; i++) {
    const [id, factors, quant] = body.subarray(6 + 3 * i, 9 + 3 * i) as unknown as [number, number, number]
    header.components.push({ id, across: factors >> 4, down: factors & 15, quant, dc: 0, ac: 0 })
  }
  if (![header.width, header.height].every((side) => side > 0 && side <= MAX_SIDE)) return false
  const [luma, ...chroma] = header.components
  if (count === 1) return luma!.across > 0 && luma!.across <= 4 && luma!.down > 0 && luma!.down <= 4
  if (!chroma.every(({ across, down }) => across === 1 && down === 1)) return false
  header.across = luma!.across
  header.down = luma!.down
  // libjpeg repeats the chroma of very narrow images instead of filtering it.
  if (header.across === 2) return header.down <= 2 && header.down > 0 && header.width > 4
  return header.across === 1 && header.down === 1
}

function readQuantisers(body: Uint8Array, header: JpegHeader): boolean {
  for (let at = 0; at < body.length; ) {
    const id = body[at]! & 15
    const wide = body[at++]! >> 4
    const size = wide ? 128 : 64
    if (id > 3 || wide > 1 || at + size > body.length) return false
    const table = new Uint16Array(64)
    for (let i = 0; i < 64; i++) table[i] = wide ? (body[at + 2 * i]! << 8) | body[at + 2 * i + 1]! : body[at + i]!
    header.quantisers[id] = table
    at += size
  }
  return true
}

function readHuffman(body: Uint8Array, header: JpegHeader): boolean {
  for (let at = 0; at < body.length; ) {
    const [kind, id] = [body[at]! >> 4, body[at]! & 15]
    if (kind > 1 || id > 3 || at + 17 > body.length) return false
    let count = 0
    for (let i = 1; i <= 16; i++) count += body[at + i]!
    if (count > 256 || at + 17 + count > body.length) return false
    header.huffman[kind * 4 + id] = body.subarray(at + 1, at + 17 + count)
    at += 17 + count
  }
  return true
}

/** The one scan must hold all components, in the order of the frame, and all their coefficients. */
function readScan(body: Uint8Array, header: JpegHeader): boolean {
  const { components, quantisers, huffman } = header
  const count = components.length
  if (count === 0 || body.length !== 4 + 2 * count || body[0] !== count) return false
  for (const [i, component] of components.entries()) {
    if (body[1 + 2 * i] !== component.id) return false
    component.dc = body[2 + 2 * i]! >> 4
    component.ac = body[2 + 2 * i]! & 15
    if (component.dc > 3 || component.ac > 3) return false
    if (!quantisers[component.quant] || !huffman[component.dc] || !huffman[4 + component.ac]) return false
  }
  return body[1 + 2 * count] === 0 && body[2 + 2 * count] === 63 && body[3 + 2 * count] === 0
}

/** Whether libjpeg takes three components for YCbCr. */
function isYcc(header: JpegHeader, jfif: boolean, adobe: number | undefined): boolean {
  const { components } = header
  if (components.length === 1 || jfif) return true
  if (adobe !== undefined) return adobe === 1
  return components.every(({ id }, i) => id === i + 1)
}
