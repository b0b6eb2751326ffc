/** The names of what a run leaves in DEST. Every one is a pure function of the unit's number. */

export const PLAN = '_vtp/plan.json'
export const MANIFEST = '_manifest.json'
export const COMMITS = '_vtp/commits/'
export const ATTEMPTS = '_vtp/attempts/'
export const PLANNING = '_vtp/planning/'
export const PIECES = '_vtp/pieces/'
export const REPAIRS = '_vtp/repair/'
export const LATENTS_STATS = 'latents_stats.pt'
/** Says in the terms of Hugging Face `datasets` how the shards are read. Its name is theirs; other readers pass over it. */
export const DATASET_CARD = '.huggingface.yaml'
/** Of a run of `vtp generate`: all images in one file, and grids of the first ones. */
export const SAMPLES_NPZ = 'samples.npz'
export const PREVIEW = 'preview/'

/** The plan that follows the one of this hash: a run that gets more images. */
export function successorName(hash: string): string {
  return `_vtp/plan-after-${hash.slice(0, 16)}.json`
}

/** Folders that a run writes files into, those in others behind them. */
export const FOLDERS = [
  '_vtp',
  '_vtp/tmp',
  '_vtp/commits',
  '_vtp/attempts',
  '_vtp/planning',
  '_vtp/pieces',
  '_vtp/repair',
  'img_emb',
  'text_emb',
  'metadata',
  'preview',
  '_vtp/rows',
  'checkpoints',
  'samples',
]

/** 17 → "00017". Units beyond 99,999 get more digits. */
export function unitName(unit: number): string {
  return String(unit).padStart(5, '0')
}

export function commitName(unit: number): string {
  return `${COMMITS}${unitName(unit)}.json`
}

export function attemptName(unit: number, attempt: number): string {
  return `${ATTEMPTS}${unitName(unit)}.${attempt}`
}

export function rejectsName(unit: number): string {
  return `_rejects-${unitName(unit)}.jsonl`
}

/** What the rejects of a unit were called before everything that is not data began with `_`. */
export function oldRejectsName(unit: number): string {
  return `rejects-${unitName(unit)}.jsonl`
}

/** 17 → "000017.png", as the reference names samples. */
export function sampleImageName(index: number): string {
  return `${String(index).padStart(6, '0')}.png`
}

export function isSampleImage(name: string): boolean {
  return /^\d{6,}\.png$/.test(name)
}

/** The listing's name holds its digest, so that two planners never overwrite each other. */
export function listingName(sha256: string): string {
  return `_vtp/listing-${sha256.slice(0, 16)}.jsonl`
}

export function isListingName(name: string): boolean {
  return /^_vtp\/listing-[0-9a-f]{16}\.jsonl$/.test(name)
}

/**
 * Whether a unit may have a file of this name. Names in commits come from whoever can write to DEST: they are
 * held to this before any path is made of them.
 */
export function isDataName(name: string): boolean {
  return (
    /^part-\d{5,}\.(arrow|parquet)$/.test(name) ||
    /^latents_rank00_shard\d{3,}\.(safetensors|keys\.jsonl)$/.test(name) ||
    /^(img_emb\/img_emb|text_emb\/text_emb)_\d+\.npy$|^metadata\/metadata_\d+\.parquet$/.test(name) ||
    isSampleImage(name)
  )
}

/** Whether a name in DEST is one that a run writes (for `--overwrite`). */
export function isRunFile(name: string): boolean {
  return (
    name.startsWith('_vtp/') ||
    name === MANIFEST ||
    name === LATENTS_STATS ||
    name === DATASET_CARD ||
    name === SAMPLES_NPZ ||
    name.startsWith(PREVIEW) ||
    isDataName(name) ||
    /^_?rejects-\d{5,}\.jsonl$/.test(name)
  )
}
