/**
 * From what the user asked for to a stored plan: resolves source, model and transform, lists the source
 * and compares with the plan that DEST may already hold.
 */
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { EXIT, usageError, VtpError } from '../../errors.js'
import type { Transform } from '../../image/transform.js'
import { makeFolder } from '../../io/make-folder.js'
import { openStore } from '../../io/open-store.js'
import { isWithin, realTarget } from '../../io/real-path.js'
import { openSource, type SourceOptions } from '../../io/sources/index.js'
import { passedOverText } from '../../io/sources/listing-report.js'
import { openTextLines } from '../../io/sources/text-lines.js'
import { storageError } from '../../io/storage-error.js'
import { type Store, uriScheme } from '../../io/store.js'
import { makeTempFolder } from '../../io/temp-folder.js'
import { assertOutput, type ImageModel, openModel } from '../../model/index.js'
import type { Source } from '../../types.js'
import { engineVersion, vtpVersion } from '../../version.js'
import { OUTPUTS } from '../outputs.js'
import { removeOldCard } from './dataset-card.js'
import { isRunFile, listingName, PLAN } from './layout.js'
import { openListingLog } from './listing-log.js'
import { assertOwnFolders } from './open-run.js'
import {
  assertSamePlan,
  claimPlan,
  difference,
  loadPlan,
  type Plan,
  type PlanSettings,
  planHash,
  writeListing,
} from './plan.js'
import { type PlanRequest, planColumns, planLatents, planTransform, resolveLayers } from './plan-request.js'
import { renameOldRejects } from './rejects.js'

export interface PreparedPlan {
  plan: Plan
  source: Source
  model: ImageModel
  transform: Transform
  store: Store
  /** The listing as a local file, where this call made it; removed by `close`. */
  listingFile: string | undefined
  /** Whether DEST already holds this plan. */
  resumed: boolean
  close(): Promise<void>
}

async function assertDestOutsideSource(source: Source, dest: string): Promise<void> {
  if (source.kind === 'folder' && `${dest}/`.startsWith(`${source.uri}/`) && source.uri.startsWith('s3://')) {
    throw usageError('dest_inside_source', `The output ${dest} lies inside the source ${source.uri}`, [
      'choose an --out prefix outside the images: the next run would read its own output',
    ])
  }
  if (source.uri.startsWith('s3://') || source.kind !== 'folder' || /^[a-z][a-z0-9+.-]*:\/\//i.test(dest)) return
  if (isWithin(await realTarget(source.uri), await realTarget(dest))) {
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
  await removeOldCard(store)
}

/** Resolves, lists and stores (or finds) the plan. Writes to DEST only its plan and listing, and only unless `dryRun`. */
export async function preparePlan(request: PlanRequest, dryRun = false): Promise<PreparedPlan> {
  const model = await openModel(request.model, { cacheDir: request.cacheDir, onNote: request.onNote })
  const needsModel = request.outputs.some((output) => output !== 'pixels' && output !== 'text')
  let source: Source | undefined
  try {
    source = request.texts
      ? await openTextLines(request.source, request.sourceOptions ?? {})
      : await openSource(request.source, request.sourceOptions)
    return await planSource(request, dryRun, model, needsModel, source)
  } catch (error) {
    await Promise.allSettled([source?.close(), model.close()])
    throw error
  }
}

async function planSource(
  request: PlanRequest,
  dryRun: boolean,
  model: ImageModel,
  needsModel: boolean,
  source: Source,
): Promise<PreparedPlan> {
  // Pixels that were preprocessed before are taken as they are, unless something else is asked for.
  const imageSize = request.imageSize ?? (request.transform === undefined ? source.pixelSize : undefined)
  const transform = planTransform({ transform: request.transform, imageSize }, model, needsModel)
  if (request.outputs.includes('layers')) assertOutput(model, 'layers')
  const layers = request.outputs.includes('layers') ? resolveLayers(request.layers, model.depth) : []
  if (request.format === 'safetensors' && !request.outputs.includes('latents')) {
    throw usageError(
      'format_needs_latents',
      'The safetensors format is the LightningDiT layout and needs the output "latents"',
      ['add latents to --outputs, or use --format arrow or parquet'],
    )
  }
  const wanted = new Set(request.outputs)
  const latents = planLatents(model, request)
  planColumns(model, request, transform, layers) // wrong outputs are told before the listing
  if (request.format === 'npy' && request.outputs.some((output) => output !== 'clip' && output !== 'text')) {
    throw usageError('format_needs_clip', 'The npy format is for embeddings: it holds clip and text, nothing else', [
      'use --format arrow or parquet for other outputs',
    ])
  }
  let store: Store | undefined
  const tmp = await makeTempFolder('plan')
  try {
    await assertDestOutsideSource(source, request.dest)
    if (!dryRun && !/^[a-z][a-z0-9+.-]*:\/\//i.test(request.dest)) await makeDest(request.dest)
    store = await openStore(request.dest)
    await assertOwnFolders(store)
    if (request.overwrite && !dryRun) await removeRun(store)

    const before = await loadPlan(store)
    // A plan is made once: workers and buckets would spend hours on listing again what is listed.
    const adopts = source.uri !== '-' && (request.shared || isAddress(source.uri)) && !dryRun
    const readingOptions = planOptions(request.sourceOptions)
    const isSameSource = (there: Plan): boolean =>
      there.source.uri === source.uri && difference('', there.source.options, readingOptions) === undefined
    const known = adopts && before && isSameSource(before) ? before : undefined
    const log =
      known || dryRun || !isAddress(source.uri)
        ? undefined
        : await openListingLog(store, source.uri, (pieces) =>
            request.onNote?.(`Resuming a listing that was interrupted (${pieces} pieces of it are stored).`),
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
        `No image found in ${source.uri}. ${passedOverText(source.passedOver) ?? ''}`.trim(),
        [
          'SOURCE is a folder, a list (.txt, .jsonl, .csv), tar shards or Parquet files; images are jpg, png, webp, gif, bmp, tiff or ppm',
        ],
      )
    }
    const captions = listing?.captions ?? known!.source.captions
    if (request.captionsToo && captions && model.text) wanted.add('text')
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
            ...(readingOptions ? { options: readingOptions } : {}),
          }
        : known!.source,
      classes: known ? known.classes : source.classes ? [...source.classes] : null,
      model: { name: model.name, digest: model.digest },
      transform: transform.spec,
      outputs,
      layers,
      layersNorm: request.layersNorm,
      flip: request.flip,
      ...(latents ? { latents } : {}),
      format: request.format,
      columns,
      precision: request.precision,
      device: request.device,
      shardRows: request.shardRows,
      engine: engineVersion(),
    }
    // Of workers that listed at the same time, the first plan counts; what came and went meanwhile is no difference.
    const check = (there: Plan): void => {
      const same = adopts && isSameSource(there)
      const now = same ? { ...settings, source: there.source, classes: there.classes } : settings
      assertSamePlan(there, now, request.dest)
    }
    const stored = known ?? (await loadPlan(store))
    let plan: Plan
    if (stored) {
      check(stored)
      plan = stored
      if (!dryRun) await renameOldRejects(store)
    } else {
      const { sha256, units } = listing!
      plan = {
        ...settings,
        hash: planHash(settings),
        vtp: vtpVersion(),
        ...(request.processor === undefined ? {} : { processor: request.processor }),
        listingFile: listingName(sha256),
        classes: settings.classes ?? null,
        listed: { passedOver: source.passedOver, notes: [...source.notes] },
        units,
      }
    }
    if (!stored && !dryRun) {
      await store.putFile(plan.listingFile, listingFile!, { ifAbsent: true, keep: true })
      const target = store
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
        await Promise.allSettled([
          model.close(),
          source.close(),
          opened.close(),
          rm(tmp, { recursive: true, force: true }),
        ])
      },
    }
  } catch (error) {
    await Promise.allSettled([store?.close(), rm(tmp, { recursive: true, force: true })])
    if (request.signal?.aborted && !(error instanceof VtpError)) throw interrupted()
    throw error
  }
}

/** What of the options decides the listing; undefined where nothing does. */
function planOptions({ fields, limit, metadata }: SourceOptions = {}): PlanSettings['source']['options'] {
  const named = Object.entries(fields ?? {}).flatMap(([what, name]) =>
    name === undefined ? [] : [[`${what}Column`, name] as const],
  )
  const options = {
    ...Object.fromEntries(named),
    ...(limit === undefined ? {} : { limit }),
    ...(metadata ? { metadata } : {}),
  }
  return Object.keys(options).length > 0 ? options : undefined
}

function interrupted(): VtpError {
  return new VtpError('Interrupted while the source was listed', {
    code: 'interrupted',
    exitCode: EXIT.interrupted,
    suggestions: ['run the same command again'],
  })
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
