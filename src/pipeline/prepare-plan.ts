/**
 * From what the user asked for to a stored plan: resolves source, model and transform, lists the source
 * and compares with the plan that DEST may already hold.
 */
import { mkdtemp, realpath, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { usageError, VtpError } from '../errors.js'
import { parseTransform, type Transform } from '../image/transform.js'
import { storageError } from '../io/local-store.js'
import { makeFolder } from '../io/make-folder.js'
import type { ShardFormat } from '../io/shards/index.js'
import { openSource, type SourceOptions } from '../io/sources/index.js'
import { openTextLines } from '../io/sources/text-lines.js'
import { openStore, type Store, uriScheme } from '../io/store.js'
import { describeOutputs, type Model, openModel } from '../model/index.js'
import type { Source, TensorColumn } from '../types.js'
import { engineVersion, vtpVersion } from '../version.js'
import { isRunFile, listingName, PLAN } from './layout.js'
import { openListingLog } from './listing-log.js'
import { OUTPUTS, type Output } from './outputs.js'
import { assertSamePlan, claimPlan, loadPlan, type Plan, type PlanSettings, planHash, writeListing } from './plan.js'
import { CAPTION_COLUMN } from './texts.js'

export interface PlanRequest {
  source: string
  sourceOptions?: SourceOptions
  dest: string
  model: string
  cacheDir?: string
  outputs: Output[]
  /** Whether the source is a file of texts, one per line, and not of images. */
  texts?: boolean
  /** Add the output `text` when the source has captions. */
  captionsToo?: boolean
  /** Block indices, or the last n blocks; needed when `layers` is among the outputs. */
  layers?: number[] | { last: number }
  /** Whether the final norm is applied to intermediate layers (as the reference's default). */
  layersNorm: boolean
  flip: boolean
  format: ShardFormat
  dtype: 'float16' | 'float32'
  /** Transform spec; default resize to the image size. */
  transform?: string
  /** Side or height × width of the model's input; default the checkpoint's. */
  imageSize?: { height: number; width: number }
  shardRows: number
  precision: string
  device: string
  overwrite?: boolean
  /** One of several workers: a plan that DEST holds is taken as it is, and its source is not listed again. */
  shared?: boolean
  signal?: AbortSignal
  onListing?: (images: number) => void
  /** How often the model download progresses, and the like. */
  onNote?: (line: string) => void
}

export interface PreparedPlan {
  plan: Plan
  source: Source
  model: Model
  transform: Transform
  store: Store
  /** The listing as a local file, where this call made it; removed by `close`. */
  listingFile: string | undefined
  /** Whether DEST already holds this plan. */
  resumed: boolean
  close(): Promise<void>
}

/** The blocks whose features are wanted, in ascending order. Throws usage error `bad_layers`. */
export function resolveLayers(layers: PlanRequest['layers'], depth: number): number[] {
  if (layers === undefined) {
    throw usageError('bad_layers', 'The output "layers" needs --layers', [
      `--layers 4 takes the last four of the model's ${depth} blocks; --layers 2,5 takes blocks 2 and 5 (0-based)`,
    ])
  }
  const list = Array.isArray(layers)
    ? [...layers].sort((a, b) => a - b)
    : Array.from({ length: layers.last }, (_, i) => depth - layers.last + i)
  const bad = list.find((k, i) => !Number.isInteger(k) || k < 0 || k >= depth || list[i - 1] === k)
  if (list.length === 0 || bad !== undefined) {
    const what = Array.isArray(layers) ? layers.join(',') : `the last ${layers.last}`
    throw usageError(
      'bad_layers',
      `--layers asks for ${what}, but the model has ${depth} blocks (0 to ${depth - 1}), each once`,
      [`use a number from 1 to ${depth} for the last n blocks, or a list such as 0,${depth - 1}`],
    )
  }
  return list
}

/** The tensor columns of a run, in the order of the shard's schema. Throws usage errors for impossible outputs. */
export function planColumns(
  model: Model,
  request: PlanRequest,
  transform: Transform,
  layers: number[],
): TensorColumn[] {
  const { height, width } = transform
  const available = describeOutputs(model, height, width, layers)
  const columns: TensorColumn[] = []
  for (const output of OUTPUTS.filter((name) => request.outputs.includes(name))) {
    if (output === 'text') {
      columns.push(textColumn(model, request))
      continue
    }
    if (output === 'pixels') {
      columns.push({ name: 'pixels', dtype: 'uint8', shape: [height, width, 3] })
      continue
    }
    const found = available.filter((c) => (output === 'layers' ? c.name.startsWith('layer_') : c.name === output))
    if (found.length === 0) {
      throw usageError('output_unavailable', `The model ${model.name} has no output "${output}"`, [
        `choose among ${[...new Set(available.map((c) => c.name.replace(/^layer_.*/, 'layers')))].join(', ')}, pixels`,
      ])
    }
    columns.push(...found.map((c) => ({ ...c, dtype: request.dtype })))
  }
  if (request.flip) {
    const images = columns.filter((c) => c.name !== CAPTION_COLUMN)
    columns.push(...images.map((c) => ({ ...c, name: `${c.name}_flip` })))
  }
  return columns
}

function textColumn(model: Model, request: PlanRequest): TensorColumn {
  const { train_clip, text_embed_dim } = model.config
  if (!train_clip) {
    throw usageError('no_text_tower', `The model ${model.name} has no text tower (train_clip is false)`, [
      'use a checkpoint that was trained with CLIP',
    ])
  }
  return { name: request.texts ? 'clip' : CAPTION_COLUMN, dtype: request.dtype, shape: [text_embed_dim] }
}

/** The transform of the request, checked against the model's patch size. Throws usage errors. */
export function planTransform(
  request: Pick<PlanRequest, 'transform' | 'imageSize'>,
  model: Model,
  needsModel: boolean,
): Transform {
  const size = request.imageSize ?? { height: model.config.image_size, width: model.config.image_size }
  const transform = parseTransform(request.transform ?? `resize(${size.height},${size.width},bilinear)`)
  if (request.imageSize && (transform.height !== size.height || transform.width !== size.width)) {
    throw usageError(
      'size_conflict',
      `--transform ${transform.spec} gives ${transform.height}×${transform.width} pixels, --image-size asks for ${size.height}×${size.width}`,
      ['leave --image-size out: the transform decides the size'],
    )
  }
  const patch = model.config.vision_patch_size
  if (needsModel && (transform.height % patch !== 0 || transform.width % patch !== 0)) {
    const near = (x: number): number => Math.max(patch, Math.round(x / patch) * patch)
    throw usageError(
      'bad_image_size',
      `The image size ${transform.height}×${transform.width} is no multiple of the model's patch size ${patch}`,
      [`use ${near(transform.height)}×${near(transform.width)}`],
    )
  }
  return transform
}

async function assertDestOutsideSource(source: Source, dest: string): Promise<void> {
  if (source.kind === 'folder' && `${dest}/`.startsWith(`${source.uri}/`) && source.uri.startsWith('s3://')) {
    throw usageError('dest_inside_source', `The output ${dest} lies inside the source ${source.uri}`, [
      'choose an --out prefix outside the images: the next run would read its own output',
    ])
  }
  if (source.uri.startsWith('s3://') || source.kind !== 'folder' || /^[a-z][a-z0-9+.-]*:\/\//i.test(dest)) return
  const root = await realpath(source.uri)
  // DEST may not exist yet: resolve the nearest ancestor that does.
  let existing = path.resolve(dest)
  const rest: string[] = []
  while (!(await stat(existing).catch(() => undefined))) {
    rest.unshift(path.basename(existing))
    existing = path.dirname(existing)
  }
  const target = path.join(await realpath(existing), ...rest)
  const relative = path.relative(root, target)
  if (relative === '' || (!relative.startsWith('..') && !path.isAbsolute(relative))) {
    throw usageError('dest_inside_source', `The output folder ${dest} lies inside the source ${source.uri}`, [
      'choose an --out folder outside the images: the next run would read its own output',
    ])
  }
}

function isAddress(uri: string): boolean {
  return uriScheme(uri) !== undefined
}

/** Deletes what a run has written into DEST. */
export async function removeRun(store: Store): Promise<void> {
  // The plan goes first: without it nothing that is left counts as committed work of it.
  await store.delete(PLAN)
  const names: string[] = []
  for await (const entry of store.list('')) if (isRunFile(entry.name)) names.push(entry.name)
  for (const name of names) await store.delete(name)
}

/** Resolves, lists and stores (or finds) the plan. Writes to DEST only its plan and listing, and only unless `dryRun`. */
export async function preparePlan(request: PlanRequest, dryRun = false): Promise<PreparedPlan> {
  const model = await openModel(request.model, { cacheDir: request.cacheDir, onNote: request.onNote })
  const needsModel = request.outputs.some((output) => output !== 'pixels' && output !== 'text')
  const source = request.texts
    ? await openTextLines(request.source, request.sourceOptions ?? {})
    : await openSource(request.source, request.sourceOptions)
  try {
    return await planSource(request, dryRun, model, needsModel, source)
  } catch (error) {
    await source.close().catch(() => {})
    throw error
  }
}

async function planSource(
  request: PlanRequest,
  dryRun: boolean,
  model: Model,
  needsModel: boolean,
  source: Source,
): Promise<PreparedPlan> {
  // Pixels that were preprocessed before are taken as they are, unless something else is asked for.
  const imageSize = request.imageSize ?? (request.transform === undefined ? source.pixelSize : undefined)
  const transform = planTransform({ transform: request.transform, imageSize }, model, needsModel)
  const layers = request.outputs.includes('layers') ? resolveLayers(request.layers, model.config.vision_depth) : []
  if (request.format === 'safetensors' && !request.outputs.includes('latents')) {
    throw usageError(
      'format_needs_latents',
      'The safetensors format is the LightningDiT layout and needs the output "latents"',
      ['add latents to --outputs, or use --format arrow or parquet'],
    )
  }
  const wanted = new Set(request.outputs)
  planColumns(model, request, transform, layers) // wrong outputs are told before the listing
  if (request.format === 'npy' && request.outputs.some((output) => output !== 'clip' && output !== 'text')) {
    throw usageError('format_needs_clip', 'The npy format is for embeddings: it holds clip and text, nothing else', [
      'use --format arrow or parquet for other outputs',
    ])
  }
  let store: Store | undefined
  const tmp = await mkdtemp(path.join(tmpdir(), 'vtp-plan-'))
  try {
    await assertDestOutsideSource(source, request.dest)
    if (!dryRun && !/^[a-z][a-z0-9+.-]*:\/\//i.test(request.dest)) await makeDest(request.dest)
    store = await openStore(request.dest)
    if (request.overwrite && !dryRun) await removeRun(store)

    const before = await loadPlan(store)
    // A plan is made once: workers and buckets would spend hours on listing again what is listed.
    const known =
      before?.source.uri === source.uri && source.uri !== '-' && (request.shared || isAddress(source.uri)) && !dryRun
        ? before
        : undefined
    const log =
      known || dryRun || !isAddress(source.uri)
        ? undefined
        : await openListingLog(store, source.uri, (pieces) =>
            request.onNote?.(`Going on with a listing that was interrupted (${pieces} pieces of it are stored).`),
          )
    const listingFile = known ? undefined : path.join(tmp, 'listing.jsonl')
    const listing = listingFile
      ? await writeListing(source, listingFile, request.shardRows, {
          signal: request.signal,
          log,
          onProgress: request.onListing,
        })
      : undefined
    if (listing?.images === 0 && request.texts) {
      throw usageError('no_texts', `No line of text found in ${source.uri}`, [
        '--text is a file with one text per line',
      ])
    }
    if (listing?.images === 0) {
      throw usageError(
        'no_images',
        `No image found in ${source.uri}${source.ignored > 0 ? ` (${source.ignored} other files passed over)` : ''}`,
        [
          'SOURCE is a folder, a list (.txt, .jsonl), tar shards or Parquet files; images are jpg, png, webp, gif, bmp or tiff',
        ],
      )
    }
    const captions = listing?.captions ?? known!.source.captions
    if (request.captionsToo && captions && model.config.train_clip) wanted.add('text')
    if (wanted.has('text') && !captions) {
      throw usageError('no_captions', `${source.uri} has no captions to embed`, ['leave "text" out of --outputs'])
    }
    const outputs = OUTPUTS.filter((name) => wanted.has(name))
    const columns = planColumns(model, { ...request, outputs }, transform, layers)
    const settings: PlanSettings = {
      version: 1,
      source: listing
        ? {
            kind: source.kind,
            uri: source.uri,
            images: listing.images,
            listing: { sha256: listing.sha256, bytes: listing.bytes },
            captions: listing.captions,
          }
        : known!.source,
      model: { name: model.name, digest: model.digest },
      transform: transform.spec,
      outputs,
      layers,
      layersNorm: request.layersNorm,
      flip: request.flip,
      format: request.format,
      columns,
      precision: request.precision,
      device: request.device,
      shardRows: request.shardRows,
      engine: engineVersion(),
    }
    const stored = known ?? (await loadPlan(store))
    let plan: Plan
    if (stored) {
      assertSamePlan(stored, settings, request.dest)
      plan = stored
    } else {
      const { sha256, units } = listing!
      plan = {
        ...settings,
        hash: planHash(settings),
        vtp: vtpVersion(),
        listingFile: listingName(sha256),
        classes: source.classes ? [...source.classes] : null,
        units,
      }
    }
    if (!stored && !dryRun) {
      await store.putFile(plan.listingFile, listingFile!, { ifAbsent: true, keep: true })
      const target = store
      const check = (there: Plan): void => assertSamePlan(there, settings, request.dest)
      plan = await claimPlan(store, plan, () => loadPlan(target), check)
    }
    await log?.clear()
    const opened = store
    return {
      plan,
      source,
      model,
      transform,
      store,
      listingFile,
      resumed: stored !== undefined,
      close: async () => {
        await Promise.allSettled([source.close(), opened.close(), rm(tmp, { recursive: true, force: true })])
      },
    }
  } catch (error) {
    await Promise.allSettled([store?.close(), rm(tmp, { recursive: true, force: true })])
    throw error
  }
}

/** Makes the folder. Throws VtpError `storage_…`. */
export async function makeDest(dest: string): Promise<void> {
  try {
    await makeFolder(path.resolve(dest))
  } catch (error) {
    throw storageError('Cannot make the output folder', dest, error)
  }
}

/** The lines of one unit, from the listing in DEST. Throws VtpError `listing_damaged`. */
export async function readUnitLines(
  { plan, store }: Pick<PreparedPlan, 'plan' | 'store'>,
  unit: number,
): Promise<string[]> {
  const { offset, bytes, rows } = plan.units[unit]!
  const text = Buffer.from(await store.get(plan.listingFile, { offset, size: bytes })).toString()
  const lines = text.split('\n').slice(0, -1)
  if (lines.length !== rows || Buffer.byteLength(text) !== bytes) {
    throw new VtpError(
      `The listing ${plan.listingFile} in ${store.uri} is damaged: unit ${unit} has ${lines.length} of ${rows} lines`,
      { code: 'listing_damaged', suggestions: ['start anew with --overwrite'] },
    )
  }
  return lines
}
