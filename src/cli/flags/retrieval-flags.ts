/** Flags that the commands on an index share, and what they mean. */
import { Args, Flags } from '@oclif/core'
import type { RowFilter } from '../../retrieval/filters.js'
import { declareFlags, type FlagValues, valueFlag } from './declare.js'
import { parseSimilarity } from './parse.js'
import { INPUT_FLAGS, MODEL_FLAG, RUN_FLAGS } from './run-flags.js'
import { COLUMN_FLAGS } from './source-flags.js'

export const INDEX_ARG = Args.string({
  name: 'INDEX',
  required: true,
  ignoreStdin: true,
  description: 'A folder that `vtp index` wrote.',
})

export const QUERY_MODEL_FLAG = Flags.string({
  char: 'm',
  summary: "The model for queries. Default: the index's own, where it is known.",
  helpValue: 'MODEL',
})

export const QUERY_PRECISION_FLAG = Flags.string({
  default: 'auto',
  summary: 'Arithmetic of the model for queries, which runs on the CPU: auto (fp32), fp32 or int8.',
  helpValue: 'NAME',
})

export const FILTER_FLAGS = {
  label: Flags.string({
    multiple: true,
    multipleNonGreedy: true,
    summary: 'Only rows of this class, by name or number; may be repeated.',
    helpValue: 'CLASS',
    helpGroup: 'FILTER',
  }),
  caption: Flags.string({
    summary: 'Only rows whose caption contains this text.',
    helpValue: 'TEXT',
    helpGroup: 'FILTER',
  }),
  'min-width': Flags.integer({ min: 0, summary: 'Only images at least this wide.', helpGroup: 'FILTER' }),
  'max-width': Flags.integer({ min: 0, summary: 'Only images at most this wide.', helpGroup: 'FILTER' }),
  'min-height': Flags.integer({ min: 0, summary: 'Only images at least this high.', helpGroup: 'FILTER' }),
  'max-height': Flags.integer({ min: 0, summary: 'Only images at most this high.', helpGroup: 'FILTER' }),
} as const

export type FilterFlags = FlagValues<typeof FILTER_FLAGS>

/** The filter of the flags; labels become numbers by `resolve`. */
export function toFilter(flags: FilterFlags, resolve: (names: string[]) => number[]): RowFilter {
  return {
    labels: flags.label ? resolve(flags.label) : undefined,
    caption: flags.caption,
    minWidth: flags['min-width'],
    maxWidth: flags['max-width'],
    minHeight: flags['min-height'],
    maxHeight: flags['max-height'],
  }
}

/** Of `vtp index`. */
export const INDEX_FLAGS = declareFlags({
  out: Flags.string({ char: 'o', required: true, summary: 'Folder of the index.', helpValue: 'INDEX' }),
  kind: Flags.option({ default: 'hnsw', options: ['hnsw', 'exact', 'lancedb'] as const, summary: 'Kind of index.' })(),
  append: Flags.boolean({
    default: false,
    summary: 'Add shards to an existing index; those that it has already are skipped.',
  }),
  column: Flags.string({
    summary: 'Column of the vectors: clip (images, the default) or clip_text (captions), or any other.',
    helpValue: 'NAME',
  }),
  storage: Flags.option({
    default: 'bfloat16',
    options: ['bfloat16', 'float16', 'int8', 'float32'] as const,
    summary:
      'How the graph keeps vectors. bfloat16 is the fastest to build; int8 is half as large and a little less accurate.',
  })(),
  connectivity: Flags.integer({ default: 16, min: 2, max: 128, summary: 'Links per node of the graph (M).' }),
  'expansion-add': Flags.integer({
    default: 128,
    min: 8,
    max: 4096,
    summary: 'Candidates when adding to the graph: more is slower to build and finds more.',
  }),
  'expansion-search': Flags.integer({
    default: 128,
    min: 8,
    max: 4096,
    summary: 'Candidates when searching the graph: more is slower and finds more.',
  }),
  model: Flags.string({
    char: 'm',
    summary: 'Where the model of the embeddings is, for `vtp search`; nano and hub ids are found without it.',
    helpValue: 'MODEL',
  }),
  workers: Flags.integer({ min: 1, summary: 'Threads. Default: one per core.', helpValue: 'N' }),
})

/** Of `vtp search`. */
export const SEARCH_FLAGS = declareFlags({
  k: Flags.integer({ char: 'k', default: 10, min: 1, max: 10_000, summary: 'How many results.' }),
  image: Flags.string({
    multiple: true,
    multipleNonGreedy: true,
    summary: 'An image as a further query; may be repeated.',
    helpValue: 'FILE',
  }),
  weights: Flags.string({
    summary: 'Weights of the queries, in their order (images of --image last). Default: all 1.',
    helpValue: 'LIST',
  }),
  'text-file': Flags.string({
    summary: 'Search for each line of a file (- for stdin).',
    helpValue: 'FILE',
    exclusive: ['image', 'weights'],
  }),
  exact: Flags.boolean({ default: false, summary: 'Compare with every vector, whatever the index has.' }),
  dedup: Flags.boolean({ default: false, summary: 'Leave out near-duplicates of better results.' }),
  'dedup-threshold': valueFlag(parseSimilarity, {
    default: '0.95',
    summary: 'Cosine similarity from which on two results are near-duplicates.',
    helpValue: 'S',
  }),
  ...FILTER_FLAGS,
  model: QUERY_MODEL_FLAG,
  precision: QUERY_PRECISION_FLAG,
})

/** Of `vtp dedup`. */
export const DEDUP_FLAGS = declareFlags({
  threshold: valueFlag(parseSimilarity, {
    char: 't',
    default: '0.95',
    summary: 'Cosine similarity from which on two images are near-duplicates, up to 1.',
    helpValue: 'S',
  }),
  exact: Flags.boolean({ default: false, summary: 'Compare all pairs, whatever the index has.' }),
  out: Flags.string({ char: 'o', summary: 'Write the groups as JSON lines to a file.', helpValue: 'FILE' }),
  'keep-list': Flags.string({
    summary: 'Write the images that stay as a SOURCE of `vtp encode`: .txt, or .jsonl with keys, labels and captions.',
    helpValue: 'FILE',
  }),
  'remove-list': Flags.string({ summary: 'Write the near-duplicates that go, likewise.', helpValue: 'FILE' }),
})

const { 'dry-run': _, ...CLASSIFY_RUN_FLAGS } = RUN_FLAGS

/** Of `vtp classify`. */
export const CLASSIFY_FLAGS = declareFlags({
  labels: Flags.string({ required: true, summary: 'File with one label per line.', helpValue: 'FILE' }),
  templates: Flags.string({
    summary: 'File with one template per line, {} or {c} for the label. Default: a photo of a {}.',
    helpValue: 'FILE',
  }),
  out: Flags.string({ char: 'o', summary: 'File for the JSON lines. Default: standard output.', helpValue: 'FILE' }),
  top: Flags.integer({ default: 5, min: 1, summary: 'How many labels to list per image.' }),
  embeddings: Flags.string({
    summary: 'Keep the embeddings in this folder, and continue from what it holds.',
    helpValue: 'DEST',
  }),
  model: MODEL_FLAG,
  ...COLUMN_FLAGS,
  ...INPUT_FLAGS,
  ...CLASSIFY_RUN_FLAGS,
})

/** Of `vtp serve`. */
export const SERVE_FLAGS = declareFlags({
  host: Flags.string({
    default: '127.0.0.1',
    summary: 'Address to listen on. Anyone who reaches it can search and see thumbnails.',
    helpValue: 'ADDRESS',
  }),
  port: Flags.integer({ char: 'p', default: 8420, min: 0, max: 65_535, summary: 'Port; 0 takes any free one.' }),
  model: QUERY_MODEL_FLAG,
  precision: QUERY_PRECISION_FLAG,
})
