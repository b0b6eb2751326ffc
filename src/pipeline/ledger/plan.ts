/**
 * The plan: what a run will do, fixed before it starts and stored in DEST as `_vtp/plan.json`. Its hash
 * covers everything that decides the bytes of the parts, and nothing else: not the number of workers,
 * threads or the batch size. Two runs with the same hash write the same bytes; a run with another hash
 * is refused in the same DEST.
 *
 * The listing lies beside it as JSON lines; a unit is a byte range of that file, so a worker reads only
 * what it encodes, and a listing of any length is never held in memory.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { finished } from 'node:stream/promises'
import * as z from 'zod'
import { errorText, usageError, VtpError } from '../../errors.js'
import type { Store } from '../../io/store.js'
import type { ListingLog, PassedOver, Source, SourceNote, TensorColumn } from '../../types.js'
import { isListingName, PLAN } from './layout.js'

const column = z.object({
  name: z.string(),
  dtype: z.enum(['float16', 'float32', 'uint8', 'int32']),
  shape: z.array(z.int().positive()),
})

const settingsSchema = z.object({
  version: z.literal(1),
  source: z.object({
    kind: z.string(),
    uri: z.string(),
    images: z.int(),
    listing: z.object({ sha256: z.string(), bytes: z.int() }),
    captions: z.boolean(),
    /** How the source was read, where that was not the usual way: it decides the listing. */
    options: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).optional(),
  }),
  /** Names of the labels; they are in the shards' schema. */
  classes: z.array(z.string()).nullish(),
  model: z.object({ name: z.string(), digest: z.string() }),
  transform: z.string(),
  outputs: z.array(z.string()),
  layers: z.array(z.int()),
  layersNorm: z.boolean(),
  flip: z.boolean(),
  format: z.enum(['arrow', 'parquet', 'safetensors', 'npy']),
  /** How latents come out of a model that gives a distribution; absent for other models. */
  latents: z.object({ draw: z.enum(['mean', 'sample']), seed: z.int().optional() }).optional(),
  columns: z.array(column),
  precision: z.string(),
  device: z.string(),
  shardRows: z.int().positive(),
  /** Of the graph builder and of ONNX Runtime: another version may round differently. */
  engine: z.string(),
})

const planSchema = settingsSchema.extend({
  hash: z.string(),
  /** Version of this program that made the plan; for provenance, not part of the hash. */
  vtp: z.string(),
  /** What decided the engine's kernels where the run began; not part of the hash. Plans made ahead do not say. */
  processor: z.string().optional(),
  listingFile: z.string().refine(isListingName, 'listingFile names no listing'),
  classes: z.array(z.string()).nullable(),
  /** What the listing had to tell; not part of the hash. */
  listed: z
    .object({
      passedOver: z.object({ count: z.int(), examples: z.array(z.string()) }),
      notes: z.array(
        z.object({ code: z.string(), count: z.int(), examples: z.array(z.string()), message: z.string() }),
      ),
    })
    .optional(),
  units: z.array(z.object({ rows: z.int().positive(), offset: z.int(), bytes: z.int().positive() })),
})

/** Everything that decides the bytes of the parts. */
export type PlanSettings = z.infer<typeof settingsSchema>
export type Plan = z.infer<typeof planSchema>
export type PlannedUnit = Plan['units'][number]
export type PlanColumn = TensorColumn

/** The hash of what decides the bytes. The source's and model's names do not, their digests do. */
export function planHash(settings: PlanSettings): string {
  // A stored plan has more fields: only the settings count.
  const { source, model, classes, ...rest } = settingsSchema.parse(settings)
  const decisive = {
    ...rest,
    images: source.images,
    listing: source.listing.sha256,
    model: model.digest,
    ...(classes ? { classes } : {}),
    ...(source.options?.metadata ? { metadata: true } : {}),
  }
  const ordered = Object.fromEntries(Object.entries(decisive).sort(([a], [b]) => (a < b ? -1 : 1)))
  return createHash('sha256').update(JSON.stringify(ordered)).digest('hex')
}

/** What a plan's listing has told, as `--json` shows it. */
export function listingFacts({ classes, listed }: Plan): {
  classes: number | null
  passedOver: PassedOver
  notes: SourceNote[]
} {
  return {
    classes: classes?.length ?? null,
    passedOver: listed?.passedOver ?? { count: 0, examples: [] },
    notes: listed?.notes ?? [],
  }
}

export interface WrittenListing {
  images: number
  sha256: string
  bytes: number
  captions: boolean
  units: PlannedUnit[]
}

/** Streams the source's listing into a file, cut into units of at most `unitRows` lines. */
export async function writeListing(
  source: Source,
  file: string,
  unitRows: number,
  options: { signal?: AbortSignal; log?: ListingLog; onProgress?: (images: number) => void } = {},
): Promise<WrittenListing> {
  const hash = createHash('sha256')
  const out = createWriteStream(file)
  const failed = new Promise<never>((_, reject) => out.once('error', reject))
  failed.catch(() => {})
  const units: PlannedUnit[] = []
  let images = 0
  let bytes = 0
  let captions = false
  let chunk: string[] = []
  let unit: PlannedUnit | undefined

  const flush = async (): Promise<void> => {
    const text = Buffer.from(chunk.join(''))
    chunk = []
    hash.update(text)
    if (!out.write(text)) await Promise.race([once(out, 'drain'), failed])
    options.onProgress?.(images)
  }
  try {
    for await (const entry of source.list(options.signal, options.log)) {
      const line = `${JSON.stringify(entry)}\n`
      const size = Buffer.byteLength(line)
      if (!unit || unit.rows === unitRows) {
        unit = { rows: 0, offset: bytes, bytes: 0 }
        units.push(unit)
      }
      unit.rows++
      unit.bytes += size
      bytes += size
      images++
      captions ||= entry.caption !== undefined
      chunk.push(line)
      if (chunk.length === 4096) await flush()
    }
    await flush()
    out.end()
    await Promise.race([finished(out), failed])
  } finally {
    out.destroy()
  }
  return { images, sha256: hash.digest('hex'), bytes, captions, units }
}

/** The kinds of runs that a DEST can hold; plans of `encode` say nothing of their kind. */
export type RunKind = 'encode' | 'generate'
/** A training has a plan, but no units. */
const TRAININGS = ['train', 'pretrain', 'pretrain --stage decoder'] as const
type PlanKind = RunKind | (typeof TRAININGS)[number]

/**
 * Reads the plan of a run of the given kind; undefined when there is none. Throws VtpError
 * `plan_unreadable` on a damaged one and usage error `other_plan` on one of another kind.
 */
export async function loadPlanOf<T>(
  store: Store,
  kind: PlanKind,
  schema: z.ZodType<T>,
  name = PLAN,
): Promise<T | undefined> {
  const value = await readPlan(store, name)
  if (value === undefined) return undefined
  const there = String((value as { kind?: unknown } | null)?.kind ?? 'encode')
  if (there !== kind) throw otherPlan(store.uri, [`command: vtp ${there} there, vtp ${kind} now`])
  const parsed = schema.safeParse(value)
  if (!parsed.success) throw unreadablePlan(store, parsed.error)
  return parsed.data
}

async function readPlan(store: Store, name = PLAN): Promise<unknown> {
  let bytes: Uint8Array
  try {
    bytes = await store.get(name)
  } catch (error) {
    if (error instanceof VtpError && error.code === 'not_found') return undefined
    throw error
  }
  try {
    return JSON.parse(Buffer.from(bytes).toString())
  } catch (error) {
    throw unreadablePlan(store, error)
  }
}

function unreadablePlan(store: Store, error: unknown): VtpError {
  return new VtpError(`The plan ${PLAN} in ${store.uri} cannot be read: ${errorText(error).slice(0, 200)}`, {
    code: 'plan_unreadable',
    suggestions: ['choose another --out folder', 'start anew with --overwrite'],
    cause: error,
  })
}

/** Reads DEST's plan; undefined when there is none. Throws as `loadPlanOf`. */
export function loadPlan(store: Store): Promise<Plan | undefined> {
  return loadPlanOf(store, 'encode', planSchema)
}

const outlineSchema = z.object({
  kind: z.enum(['encode', 'generate']).default('encode'),
  hash: z.string(),
  grewFrom: z.array(z.string()).default([]),
  source: z.object({ images: z.int() }).optional(),
  num: z.int().optional(),
  units: z.array(z.object({ rows: z.int().positive() })),
  listingFile: z.string().refine(isListingName, 'listingFile names no listing').optional(),
})

/** What the plans of all kinds of runs have. */
export interface RunOutline {
  kind: RunKind
  hash: string
  /** Hashes of plans of fewer images whose units are the first of this one. */
  grewFrom: string[]
  images: number
  units: { rows: number }[]
  /** Of runs that read images. */
  listingFile?: string
}

/** The outline of DEST's plan, of whatever kind; undefined when there is none. Throws VtpError `plan_unreadable`. */
export async function loadOutline(store: Store): Promise<RunOutline | undefined> {
  const value = await readPlan(store)
  if (value === undefined) return undefined
  const training = TRAININGS.find((kind) => kind === (value as { kind?: unknown } | null)?.kind)
  if (training)
    throw usageError('other_plan', `${store.uri} holds a training, which has no units`, [
      `look at its report.html and log.jsonl; \`vtp ${training}\` with the same flags continues it`,
    ])
  const parsed = outlineSchema.safeParse(value)
  if (!parsed.success) throw unreadablePlan(store, parsed.error)
  const { source, num, ...rest } = parsed.data
  return { ...rest, images: source?.images ?? num ?? 0 }
}

/**
 * Stores a plan unless DEST holds one, and returns the one that counts. `check` throws when the other one
 * is not the same.
 */
export async function claimPlan<T>(
  store: Store,
  plan: T,
  load: () => Promise<T | undefined>,
  check: (there: T) => void,
): Promise<T> {
  if (await store.putIfAbsent(PLAN, Buffer.from(`${JSON.stringify(plan)}\n`))) return plan
  const first = await load()
  if (first) check(first)
  return first ?? plan
}

/** One line when two values differ. */
export function difference(name: string, before: unknown, now: unknown): string | undefined {
  const [a, b] = [JSON.stringify(before), JSON.stringify(now)]
  return a === b ? undefined : `${name}: ${a} there, ${b} now`
}

/** What differs between two plans, one line each; empty when they write the same bytes. */
export function planDifferences(there: PlanSettings, now: PlanSettings): string[] {
  if (planHash(there) === planHash(now)) return []
  const names = [
    'transform',
    'outputs',
    'layers',
    'layersNorm',
    'latents',
    'flip',
    'format',
    'precision',
    'device',
    'shardRows',
    'engine',
  ] as const
  const lines = [
    difference('source', there.source.uri, now.source.uri),
    difference('images', there.source.images, now.source.images),
    difference('metadata', there.source.options?.metadata, now.source.options?.metadata),
    there.model.digest === now.model.digest
      ? undefined
      : `model: ${there.model.name} there, ${now.model.name} now (other weights)`,
    ...names.map((name) => difference(name, there[name], now[name])),
    difference('columns', describeColumns(there), describeColumns(now)),
  ].filter((line) => line !== undefined)
  if (lines.length === 0) lines.push('the list of images (same number, other names, labels, classes or order)')
  return lines
}

function describeColumns(settings: PlanSettings): string[] {
  return settings.columns.map((c) => `${c.name} ${c.dtype}[${c.shape.join(',')}]`)
}

/** Throws a usage error that names the differences when DEST holds another plan. */
export function assertSamePlan(there: PlanSettings, now: PlanSettings, dest: string): void {
  const lines = planDifferences(there, now)
  if (lines.length === 0) return
  throw otherPlan(dest, lines)
}

/** The usage error for a DEST that holds another run. */
export function otherPlan(dest: string, lines: string[]): VtpError {
  return usageError(
    'other_plan',
    `${dest} holds the output of another run. What differs:\n${lines.map((l) => `  ${l}`).join('\n')}`,
    [
      'choose another --out folder',
      'run with the same settings as before to continue it',
      'pass --overwrite to delete that output and start anew',
    ],
  )
}
