/**
 * A JPEG file's markers behind its pixels. Pillow lets libjpeg read on to the end-of-image marker and
 * refuses the file if something else comes first; libvips stops at the last row. Such files were cut in
 * two or overwritten, and the rows below the damage are grey or shifted: they are no images to train on.
 * Only files with one scan need this: of the others libjpeg has read everything before the first row.
 * Format: ITU-T T.81, annex B.
 */
import { RejectError } from '../types.js'

const [SOI, EOI, SOS, DQT, DHT, DAC, DRI, DNL, COM] = [0xd8, 0xd9, 0xda, 0xdb, 0xc4, 0xcc, 0xdd, 0xdc, 0xfe]

interface Marker {
  code: number
  /** First byte behind the marker, or behind the length field of a segment. */
  start: number
  /** First byte behind the segment. */
  end: number
}

const isSof = (code: number): boolean => code >= 0xc0 && code <= 0xcf && code !== DHT && code !== 0xc8 && code !== DAC
const standsAlone = (code: number): boolean => code === 0x01 || (code >= 0xd0 && code <= EOI)

/** The next marker at or after `from`; bytes that are none are passed over. */
function nextMarker(bytes: Uint8Array, from: number): Marker | undefined {
  for (let at = bytes.indexOf(0xff, from); at >= 0; at = bytes.indexOf(0xff, at + 1)) {
    const code = bytes[at + 1]
    if (code === undefined) return undefined
    if (code === 0 || code === 0xff) continue
    if (standsAlone(code)) return { code, start: at + 2, end: at + 2 }
    const [high, low] = [bytes[at + 2], bytes[at + 3]]
    if (high === undefined || low === undefined) return undefined
    return { code, start: at + 4, end: at + 2 + (high << 8) + low }
  }
  return undefined
}

/** What the frame header says. */
export interface JpegFrame {
  width: number
  height: number
  /** 1 grey, 3 colour, 4 CMYK. */
  components: number
  /** Of all components together. */
  samplesPerPixel: number
  /** How often the file goes through its image. */
  scans: number
}

/**
 * Reads a JPEG file's frame header and checks the markers behind its pixels. Undefined: there is no frame
 * before the first scan, or it is cut off. Throws an Error if libjpeg would on its way from the last row of
 * a file with one scan to the end of the image.
 */
export function checkJpeg(bytes: Uint8Array): JpegFrame | undefined {
  let [frame, sequential, interval, blocks]: [JpegFrame | undefined, boolean, number, number] = [undefined, false, 0, 0]
  let marker = nextMarker(bytes, 2)
  for (; marker && marker.code !== SOS; marker = nextMarker(bytes, marker.end)) {
    const { code, start } = marker
    const u16 = (at: number): number => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)
    if (code === DRI) interval = u16(start)
    if (!isSof(code)) continue
    checkKind(code, bytes[start] ?? 8)
    const components = bytes[start + 5] ?? 0
    const parameters = bytes.subarray(start + 6, start + 6 + 3 * components)
    const size = { height: u16(start + 1), width: u16(start + 3), components }
    frame = { ...size, samplesPerPixel: countSamples(parameters), scans: 0 }
    sequential = code === 0xc0 || code === 0xc1 || code === 0xc9
    blocks = countMcus(frame, parameters)
  }
  if (marker && frame && sequential && bytes[marker.start] === frame.components) {
    checkEnd(bytes, marker.end, interval > 0 ? Math.ceil(blocks / interval) - 1 : 0)
  }
  if (frame) frame.scans = countScans(bytes, marker)
  return marker && frame
}

function countScans(bytes: Uint8Array, first: Marker | undefined): number {
  let scans = 0
  for (let marker = first; marker && marker.code !== EOI; marker = nextMarker(bytes, marker.end)) {
    if (marker.code === SOS) scans++
  }
  return scans
}

/** Samples of all components per pixel of the image: 1 of the largest, less of those that are sampled down. */
function countSamples(parameters: Uint8Array): number {
  const factors = Array.from(parameters).filter((_, i) => i % 3 === 1)
  const areas = factors.map((factor) => (factor >> 4) * (factor & 15))
  return areas.reduce((sum, area) => sum + area, 0) / Math.max(1, ...areas)
}

/** Sound files of kinds that libjpeg does not decode. */
function checkKind(code: number, bits: number): void {
  const kind = (code & 3) === 3 ? 'lossless coding' : code >= 0xc5 && code !== 0xc9 && code !== 0xca ? 'layers' : ''
  const what = kind || (bits === 8 ? '' : `${bits} bits per sample`)
  if (what) throw new RejectError('unsupported_format', 'decode', `JPEG with ${what} is not read`)
}

/** Minimum coded units of a scan that holds all components; three bytes of the frame header for each. */
function countMcus({ width, height, components }: JpegFrame, parameters: Uint8Array): number {
  let [across, down] = [1, 1]
  for (let i = 1; i < parameters.length && components > 1; i += 3) {
    across = Math.max(across, parameters[i]! >> 4)
    down = Math.max(down, parameters[i]! & 15)
  }
  return Math.ceil(width / (8 * across)) * Math.ceil(height / (8 * down))
}

/** `restarts`: how many restart markers the scan has. */
function checkEnd(bytes: Uint8Array, scanAt: number, restarts: number): void {
  let seen = 0
  for (let at = scanAt; ; ) {
    const next = nextMarker(bytes, at)
    if (!next) return // whether rows are missing, the decoder knows
    const { code, start, end } = next
    if (code === EOI) return
    if (code >= 0xd0 && code <= 0xd7) seen++
    if (seen < restarts && code < 0xc0) {
      at = start - 2 // libjpeg looks for the next restart marker and passes over these
      continue
    }
    at = end
    if (standsAlone(code) && code !== SOI) continue
    if ((code >= 0xe0 && code <= 0xef) || code === COM || code === DNL) continue
    const known = [DQT, DHT, DAC, DRI].includes(code)
    if (!known || !isPlausible(code, bytes.subarray(start), end - start)) {
      throw new Error(`the JPEG file has a marker 0xff${code.toString(16)} where its image should end`)
    }
  }
}

/** Whether libjpeg reads a table segment of that length without complaint. Where the file ends, it stops and is content. */
function isPlausible(code: number, body: Uint8Array, length: number): boolean {
  if (code === DRI) return length === 2
  if (code === DAC) return length % 2 === 0
  let at = 0
  while (at < length) {
    const id = body[at]
    if (id === undefined) return true
    if (code === DQT) {
      if ((id & 15) > 3) return false
      at += 1 + (id >> 4 ? 128 : 64)
    } else {
      at += 17
      if (at > length) return false
      if (at > body.length) return true
      const count = body.subarray(at - 16, at).reduce((sum, number) => sum + number, 0)
      if (count > 256 || count > length - at || (id & 15) > 3 || id >> 4 > 1) return false
      at += count
    }
    if (at > body.length) return true
  }
  return at === length
}
