/**
 * SigLIP's tokenizers. SigLIP 1: canonical text through a unigram model of 32,000 pieces (`spiece.model`, or the same
 * in `tokenizer.json`), cut, closed by `</s>` = 1 and padded with it to the full length, on which the position of the
 * last token depends. SigLIP 2: Gemma's BPE of 256,000 (`tokenizer.json`), padded with 0.
 * Reference: big_vision's SigLIP configuration; open_clip 3.3 (tokenizer.py, canonicalize_text); transformers 5
 * (Siglip2Tokenizer: lower case, punctuation stays).
 */
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { usageError, VtpError } from '../../errors.js'
import { otherVocabulary } from '../blocks/tower-model.js'
import type { LocalCheckpoint } from '../family.js'
import type { Tokenizer } from '../image-model.js'
import { fixText } from '../text/fix-text.js'
import { unescapeHtml } from '../text/html.js'
import { collapseSpaces, lower } from '../text/python-text.js'
import { createUnigramTokenizer, parseSpiece, unigramOfJson } from '../text/sentencepiece.js'

/** `</s>`, which also pads. */
const END = 1
/** string.punctuation of Python without "_", which becomes a space. */
const PUNCTUATION = /[!"#$%&'()*+,\-./:;<=>?@[\\\]^`{|}~]/g

/** The text as SigLIP was trained on it. */
export function canonicalText(text: string): string {
  const clean = unescapeHtml(unescapeHtml(fixText(text)))
  return collapseSpaces(lower(clean.replaceAll('_', ' ').replace(PUNCTUATION, '')))
}

/** int64 [texts, length], each row cut to `length − 1` ids, closed and padded on the right. */
function fillRows(rows: number[][], length: number, end: number | undefined, pad: number): BigInt64Array {
  const out = new BigInt64Array(rows.length * length).fill(BigInt(pad))
  for (const [row, ids] of rows.entries()) {
    const kept = ids.slice(0, end === undefined ? length : length - 1)
    const all = end === undefined ? kept : [...kept, end]
    for (const [i, id] of all.entries()) out[row * length + i] = BigInt(id)
  }
  return out
}

/** Opens the tokenizer beside a checkpoint. Throws VtpError `no_tokenizer` or `bad_tokenizer`. */
export async function openSiglipTokenizer(local: LocalCheckpoint, vocabulary: number): Promise<Tokenizer> {
  const at = (name: string): string => path.join(local.folder, name)
  const has = (name: string): boolean => local.files.includes(name)
  if (has('spiece.model')) {
    const model = parseSpiece(await readFile(at('spiece.model')), at('spiece.model'))
    return unigram(model, local.name, vocabulary)
  }
  if (!has('tokenizer.json')) {
    throw usageError(
      'no_tokenizer',
      `The model ${local.name} has no tokenizer: spiece.model and tokenizer.json are missing`,
      [`put the tokenizer's file of the same model into ${local.folder}`],
    )
  }
  const json = await parseJson(at('tokenizer.json'))
  const model = unigramOfJson(json, at('tokenizer.json'))
  if (model) return unigram(model, local.name, vocabulary)
  const config = has('tokenizer_config.json') ? await parseJson(at('tokenizer_config.json')) : {}
  return gemma(json, config, local)
}

function unigram(model: Parameters<typeof createUnigramTokenizer>[0], name: string, vocabulary: number): Tokenizer {
  if (model.pieces.length > vocabulary)
    throw otherVocabulary(name, vocabulary, `its tokenizer has ${model.pieces.length}`)
  const { encode } = createUnigramTokenizer(model)
  return {
    encodeBatch: (texts, length) =>
      fillRows(
        texts.map((text) => encode(canonicalText(text))),
        length,
        END,
        END,
      ),
  }
}

async function parseJson(file: string): Promise<Record<string, unknown>> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>
  } catch (error) {
    throw new VtpError(`${file} is not valid JSON`, { code: 'bad_tokenizer', exitCode: 2, cause: error })
  }
}

/** What of `tokenizer_config.json` decides the ids. */
interface GemmaConfig {
  add_bos_token?: boolean
  add_eos_token?: boolean
  padding_side?: string
}

/** SigLIP 2's. open_clip canonicalises the text as for SigLIP 1, transformers only lower-cases it. */
async function gemma(
  json: Record<string, unknown>,
  config: Record<string, unknown>,
  local: LocalCheckpoint,
): Promise<Tokenizer> {
  const { Tokenizer } = await import('@huggingface/tokenizers')
  const tokenizer = new Tokenizer(json, config)
  const { add_bos_token: bos = false, add_eos_token: eos = true, padding_side: side = 'right' } = config as GemmaConfig
  const [pad, end, begin] = ['<pad>', '<eos>', '<bos>'].map((token) => tokenizer.token_to_id(token))
  if (end === undefined || pad === undefined)
    throw new VtpError(`${local.folder}/tokenizer.json has no <eos> or <pad>`, { code: 'bad_tokenizer', exitCode: 2 })
  const clean = local.claim.files.includes('open_clip_config.json') ? canonicalText : lower
  const encode = (text: string): number[] => [
    ...(bos && begin !== undefined ? [begin] : []),
    ...tokenizer.encode(clean(text), { add_special_tokens: false }).ids,
  ]
  return {
    encodeBatch(texts, length) {
      const rows = fillRows(texts.map(encode), length, eos ? end : undefined, pad)
      return side === 'left' ? padLeft(rows, length, BigInt(pad)) : rows
    },
  }
}

function padLeft(rows: BigInt64Array, length: number, pad: bigint): BigInt64Array {
  for (let start = 0; start < rows.length; start += length) {
    const row = rows.slice(start, start + length)
    const used = row.findLastIndex((id) => id !== pad) + 1
    rows.fill(pad, start, start + length - used)
    rows.set(row.subarray(0, used), start + length - used)
  }
  return rows
}
