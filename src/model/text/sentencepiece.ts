/**
 * sentencepiece's unigram model: normalisation by a map of characters, then the best division into pieces (Viterbi).
 * Read from `spiece.model`, or from a `tokenizer.json` that was made of one. Reference: google/sentencepiece,
 * src/normalizer.cc and src/unigram_model.cc (EncodeOptimized), scores in single precision as there.
 */
import protobuf from 'protobufjs'
import { VtpError } from '../../errors.js'

/** A model of pieces. */
export interface UnigramModel {
  /** By id. */
  pieces: { text: string; score: number; kind: PieceKind }[]
  unknown: number
  charsmap: Charsmap | undefined
  addDummyPrefix: boolean
  removeExtraSpaces: boolean
}

export type PieceKind = 'normal' | 'unknown' | 'control' | 'user' | 'unused'

/** What stands for a space inside pieces. */
const SPACE = '▁'
/** An unknown character costs so much more than the rarest piece. */
const UNKNOWN_PENALTY = 10

/** SentencePiece.Type of sentencepiece_model.proto; bytes are only there for models with byte fallback. */
const KINDS: Record<number, PieceKind> = { 1: 'normal', 2: 'unknown', 3: 'control', 4: 'user', 5: 'unused' }

const ModelProto = protobuf.Root.fromJSON({
  nested: {
    Model: {
      fields: {
        pieces: { rule: 'repeated', type: 'Piece', id: 1 },
        trainer: { type: 'Trainer', id: 2 },
        normalizer: { type: 'Normalizer', id: 3 },
      },
    },
    Piece: {
      fields: {
        piece: { type: 'string', id: 1 },
        score: { type: 'float', id: 2 },
        type: { type: 'int32', id: 3, options: { default: 1 } },
      },
    },
    Trainer: { fields: { modelType: { type: 'int32', id: 3, options: { default: 1 } } } },
    Normalizer: {
      fields: {
        precompiledCharsmap: { type: 'bytes', id: 2 },
        addDummyPrefix: { type: 'bool', id: 3, options: { default: true } },
        removeExtraWhitespaces: { type: 'bool', id: 4, options: { default: true } },
      },
    },
  },
}).lookupType('Model')

interface ParsedModel {
  pieces: { piece: string; score: number; type: number }[]
  trainer: { modelType: number } | null
  normalizer: {
    precompiledCharsmap: Uint8Array
    addDummyPrefix: boolean
    removeExtraWhitespaces: boolean
  } | null
}

function bad(file: string, what: string, cause?: unknown): VtpError {
  return new VtpError(`${file}: ${what}`, { code: 'bad_tokenizer', exitCode: 2, cause })
}

/** Parses `spiece.model`. Throws VtpError `bad_tokenizer`. */
export function parseSpiece(bytes: Uint8Array, file: string): UnigramModel {
  let parsed: ParsedModel
  try {
    parsed = ModelProto.decode(bytes) as unknown as ParsedModel
  } catch (error) {
    throw bad(file, 'it is not a sentencepiece model', error)
  }
  if ((parsed.trainer?.modelType ?? 1) !== 1) throw bad(file, 'its model is not a unigram model')
  const pieces = parsed.pieces.map(({ piece, score, type }) => ({ text: piece, score, kind: KINDS[type] ?? 'unused' }))
  const unknown = pieces.findIndex(({ kind }) => kind === 'unknown')
  if (unknown === -1) throw bad(file, 'it has no piece for the unknown')
  const normalizer = parsed.normalizer
  const map = normalizer?.precompiledCharsmap
  return {
    pieces,
    unknown,
    charsmap: map && map.length > 0 ? openCharsmap(map, file) : undefined,
    addDummyPrefix: normalizer?.addDummyPrefix ?? true,
    removeExtraSpaces: normalizer?.removeExtraWhitespaces ?? true,
  }
}

interface TokenizerJson {
  model?: { type?: string; unk_id?: number | null; vocab?: [string, number][] }
  normalizer?: NormalizerJson | null
  added_tokens?: { id: number; content: string; special: boolean }[]
}
interface NormalizerJson {
  type?: string
  normalizers?: NormalizerJson[]
  precompiled_charsmap?: string
}

/** Reads the unigram model of a parsed `tokenizer.json`; undefined where it holds another kind. */
export function unigramOfJson(json: TokenizerJson, file: string): UnigramModel | undefined {
  const { model } = json
  if (model?.type !== 'Unigram') return undefined
  if (!Array.isArray(model.vocab) || typeof model.unk_id !== 'number')
    throw bad(file, 'its unigram model is incomplete')
  const special = new Set((json.added_tokens ?? []).filter((token) => token.special).map((token) => token.id))
  const maps = [json.normalizer, ...(json.normalizer?.normalizers ?? [])]
  const map = maps.find((entry) => entry?.type === 'Precompiled')?.precompiled_charsmap
  return {
    pieces: model.vocab.map(([text, score], id) => ({
      text,
      score,
      kind: id === model.unk_id ? 'unknown' : special.has(id) ? 'control' : 'normal',
    })),
    unknown: model.unk_id,
    charsmap: map ? openCharsmap(Buffer.from(map, 'base64'), file) : undefined,
    addDummyPrefix: true,
    removeExtraSpaces: true,
  }
}

/** The longest key of the map that some bytes begin with: its length and what it becomes. */
export type Charsmap = (bytes: Uint8Array, at: number) => { length: number; text: string } | undefined

/** A darts-clone double array over UTF-8, then the replacements, each closed by a zero byte. */
function openCharsmap(blob: Uint8Array, file: string): Charsmap {
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength)
  const size = blob.length >= 4 ? view.getUint32(0, true) : 0
  if (size % 4 !== 0 || size + 4 > blob.length) throw bad(file, 'its map of characters is damaged')
  const units = Uint32Array.from({ length: size / 4 }, (_, i) => view.getUint32(4 + 4 * i, true))
  const texts = Buffer.from(blob.subarray(4 + size))
  const offset = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6)
  return (bytes, start) => {
    let node = units.length > 0 ? offset(units[0]!) : 0
    let found: { length: number; at: number } | undefined
    for (let at = start; at < bytes.length; at++) {
      node ^= bytes[at]!
      const unit = units[node]
      if (unit === undefined || (unit & 0x800000ff) >>> 0 !== bytes[at]) break
      node ^= offset(unit)
      if ((unit >>> 8) & 1) found = { length: at - start + 1, at: units[node]! & 0x7fffffff }
    }
    if (!found) return undefined
    const end = texts.indexOf(0, found.at)
    return { length: found.length, text: texts.toString('utf8', found.at, end === -1 ? texts.length : end) }
  }
}

/** Bytes of the UTF-8 character that begins with this byte. */
function characterBytes(first: number): number {
  return first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4
}

/** The text as pieces are cut from it: characters mapped, spaces as `▁`. */
export function normalizeText(model: UnigramModel, text: string): string {
  const bytes = Buffer.from(text, 'utf8')
  let out = ''
  let afterSpace = model.removeExtraSpaces
  for (let at = 0; at < bytes.length; ) {
    const mapped = model.charsmap?.(bytes, at)
    const length = mapped?.length ?? characterBytes(bytes[at]!)
    let piece = mapped?.text ?? bytes.toString('utf8', at, at + length)
    at += length
    if (afterSpace) piece = piece.replace(/^ +/, '')
    if (piece === '') continue
    out += piece.replaceAll(' ', SPACE)
    afterSpace = model.removeExtraSpaces && piece.endsWith(' ')
  }
  if (model.removeExtraSpaces) while (out.endsWith(SPACE)) out = out.slice(0, -1)
  if (out === '') return ''
  return model.addDummyPrefix ? SPACE + out : out
}

export interface UnigramTokenizer {
  /** Ids of a text: no begin, no end. Runs of unknown characters are one id. */
  encode(text: string): number[]
}

export function createUnigramTokenizer(model: UnigramModel): UnigramTokenizer {
  const ids = new Map<string, number>()
  let longest = 1
  let least = Number.POSITIVE_INFINITY
  let most = Number.NEGATIVE_INFINITY
  for (const [id, { text, score, kind }] of model.pieces.entries()) {
    if (kind === 'normal') {
      least = Math.min(least, score)
      most = Math.max(most, score)
    }
    if (kind !== 'normal' && kind !== 'user') continue
    ids.set(text, id)
    longest = Math.max(longest, [...text].length)
  }
  const unknownScore = Math.fround(least - UNKNOWN_PENALTY)
  const scoreOf = (id: number, length: number): number => {
    const { score, kind } = model.pieces[id]!
    return kind === 'user' ? length * most - 0.1 : score
  }
  return {
    encode(text) {
      const characters = [...normalizeText(model, text)]
      const best: { score: number; from: number; id: number }[] = [{ score: 0, from: -1, id: -1 }]
      const offer = (to: number, from: number, id: number, score: number): void => {
        const total = Math.fround(best[from]!.score + score)
        const there = best[to]
        if (!there || total > there.score) best[to] = { score: total, from, id }
      }
      for (let from = 0; from < characters.length; from++) {
        let single = false
        let piece = ''
        for (let length = 1; length <= longest && from + length <= characters.length; length++) {
          piece += characters[from + length - 1]!
          const id = ids.get(piece)
          if (id === undefined) continue
          offer(from + length, from, id, scoreOf(id, piece.length))
          single ||= length === 1
        }
        if (!single) offer(from + 1, from, model.unknown, unknownScore)
      }
      const out: number[] = []
      for (let at = characters.length; at > 0; at = best[at]!.from) {
        const { id } = best[at]!
        if (id !== model.unknown || out.at(-1) !== model.unknown) out.push(id)
      }
      return out.reverse()
    },
  }
}
