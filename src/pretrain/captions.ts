/**
 * The captions of images: the source's own, or class names put into templates, one of them drawn for each sample. Texts
 * are given at the length of the longest one of the data where the tower reads no further: value and gradient are the
 * same, at a fraction of the cost.
 */
import { createHash } from 'node:crypto'
import { usageError } from '../errors.js'
import type { Draws } from '../math/draws.js'
import type { ListingIndex } from '../metrics/probe/listing-index.js'
import { FOLDER_NAMES, fillTemplate, readPrompts } from '../metrics/zeroshot/prompts.js'
import { createTokenizer, type Tokenizer, VOCAB_SIZE } from '../model/text/tokenizer.js'
import { textLength, type VtpConfig } from '../model/vtp/config.js'
import { readsUpToEnd } from '../model/vtp/training-text.js'
import type { ListingEntry } from '../types.js'

/** Start and end. */
const MARKS = 2

export interface CaptionOptions {
  /** A file with a name per line, or `folder`; default: the source's own captions, else the names of its classes. */
  classnames?: string
  /** A file with a template per line; default OpenCLIP's 80. */
  templates?: string
}

export interface Captions {
  /** Tokens of a text. */
  readonly length: number
  /** For people: where captions come from. */
  readonly description: string
  /** SHA-256 (hex) of everything that captions are made of. */
  readonly digest: string
  of(entry: ListingEntry, draws: Draws): string
  /** int64 [texts, length], flat. */
  tokens(texts: readonly string[]): BigInt64Array
}

/** Throws usage errors `captions_missing`, `vocabulary_mismatch`, and those of the files. */
export async function openCaptions(index: ListingIndex, config: VtpConfig, options: CaptionOptions): Promise<Captions> {
  if (config.text_vocab_size < VOCAB_SIZE)
    throw usageError(
      'vocabulary_mismatch',
      `The model's text_vocab_size is ${config.text_vocab_size}; CLIP's tokenizer has ${VOCAB_SIZE} tokens`,
      [`set text_vocab_size: ${VOCAB_SIZE}`],
    )
  const tokenizer = createTokenizer()
  const asked = options.classnames !== undefined || options.templates !== undefined
  const prompts = asked ? await readPrompts(options.classnames ?? FOLDER_NAMES, options.templates) : undefined
  // Without classes there is nothing to put into templates: they are then those of the held-out images.
  const own = asked && index.classes > 0 ? undefined : await ownCaptions(index, tokenizer)
  const { longest, ...rest } = own ?? (await classCaptions(index, tokenizer, { ...options, prompts }))
  const full = textLength(config)
  const length = readsUpToEnd(config) ? Math.min(full, longest + MARKS) : full
  return { ...rest, length, tokens: (texts) => tokenizer.encodeBatch(texts, length) }
}

type Found = Pick<Captions, 'description' | 'digest' | 'of'> & { longest: number }

const missing = (what: string): Error =>
  usageError('captions_missing', `${what}, and the contrastive loss needs captions`, [
    'give images with captions: .txt files or tar members beside them, a caption column, or a caption field of a list',
    'or class folders, whose names become captions (--templates FILE says how)',
    'or train without: --set hyper_parameters.w_clip=0',
  ])

/** Undefined where no image has a caption. */
async function ownCaptions(index: ListingIndex, tokenizer: Tokenizer): Promise<Found | undefined> {
  const hash = createHash('sha256')
  let longest = 0
  let captions = 0
  let without: ListingEntry | undefined
  for await (const entry of index.entries()) {
    const { caption, at } = entry
    if (caption !== undefined) {
      captions++
      longest = Math.max(longest, tokenizer.encode(caption).length)
    } else if (at.kind !== 'bad') without ??= entry
    hash.update(`${JSON.stringify(caption ?? null)}\n`)
  }
  if (captions === 0) return undefined
  if (without && index.names === undefined) throw missing(`${without.uri} has no caption`)
  if (without) return undefined
  return {
    longest,
    description: "the source's own captions",
    digest: hash.digest('hex'),
    of: ({ caption = '' }) => caption,
  }
}

type ClassCaptionOptions = CaptionOptions & { prompts?: Awaited<ReturnType<typeof readPrompts>> }

async function classCaptions(index: ListingIndex, tokenizer: Tokenizer, options: ClassCaptionOptions): Promise<Found> {
  if (index.classes === 0) throw missing(`${index.source.uri} has neither captions nor classes`)
  const file = options.classnames ?? FOLDER_NAMES
  if (file === FOLDER_NAMES && index.names === undefined)
    throw missing(`${index.source.uri} has labels without names (--classnames FILE gives them)`)
  const prompts = options.prompts ?? (await readPrompts(file, options.templates))
  const { classnames, templates, description } = prompts(index.names)
  if (index.classes > classnames.length)
    throw usageError(
      'classes_mismatch',
      `${index.source.uri} has ${index.classes} classes, but there are ${classnames.length} class names`,
      ['give a name for each class in --classnames, one per line'],
    )
  for await (const { label, uri, at } of index.entries())
    if (label === undefined && at.kind !== 'bad') throw missing(`${uri} has neither a caption nor a class`)
  const texts = classnames.flatMap((name) => templates.map((template) => fillTemplate(template, name)))
  return {
    longest: texts.reduce((most, text) => Math.max(most, tokenizer.encode(text).length), 0),
    description,
    digest: createHash('sha256')
      .update(JSON.stringify([classnames, templates]))
      .digest('hex'),
    of: ({ label }, draws) => fillTemplate(templates[draws.integer(0, templates.length - 1)]!, classnames[label!]!),
  }
}
