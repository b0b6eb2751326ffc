/** `vtp classify`: embeddings as `vtp embed` makes them, then labels. */
import { once } from 'node:events'
import { rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { chooseDevice } from '../../engine/choose-device.js'
import { EXIT, usageError } from '../../errors.js'
import { openStore } from '../../io/open-store.js'
import { findShards, openShard } from '../../io/shards/index.js'
import { joinFacts, type ListingFacts } from '../../io/sources/listing-report.js'
import { uriScheme } from '../../io/store.js'
import { makeTempFolder } from '../../io/temp-folder.js'
import type { RejectCounts } from '../../pipeline/ledger/rejects.js'
import { openEmbedder } from '../../retrieval/embedder.js'
import { classifyShards, DEFAULT_TEMPLATE, embedLabels, fillTemplate, readLabelFile } from '../../retrieval/labels.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { CLASSIFY_FLAGS } from '../flags/retrieval-flags.js'
import { jsonText } from '../terminal/clean.js'
import { formatCount, formatCounts, plural } from '../terminal/format.js'
import { dataStream, withoutResults } from '../terminal/terminal.js'
import { type EncodeJson, runEncodeCommand } from './encode.js'
import type { ExitReason } from './exit-reason.js'
import { type Output, openOutput } from './output-file.js'

export type ClassifyFlags = FlagValues<typeof CLASSIFY_FLAGS> & { source: string }

/** The stable object of `--json`. */
export interface ClassifyJson extends ListingFacts {
  images: number
  rejects: number
  rejectsByCode: RejectCounts
  exitReason: ExitReason | 'no_images'
  labels: string[]
  /** Images per label, by their likeliest one. */
  counts: Record<string, number>
  /** With --out, the file; otherwise the rows themselves. */
  out: string | null
  rows?: ClassifiedRow[]
}

export interface ClassifiedRow {
  key: string
  uri: string
  label: string
  probability: number
  /** The likeliest labels. */
  top: { label: string; probability: number }[]
}

export async function runClassifyCommand(context: CommandContext, flags: ClassifyFlags): Promise<ClassifyJson> {
  const labels = await readLabelFile(flags.labels, '--labels')
  const templates = flags.templates ? await readLabelFile(flags.templates, '--templates') : [DEFAULT_TEMPLATE]
  for (const template of templates) fillTemplate(template, '')
  const repeated = labels.find((label, i) => labels.indexOf(label) !== i)
  if (repeated !== undefined)
    throw usageError('label_twice', `--labels has "${repeated}" twice`, ['write each label once'])

  const out = flags.out === undefined ? undefined : await openOutput(flags.out)
  const made = flags.embeddings ? undefined : await makeTempFolder('classify')
  try {
    const ready = await isEmbedded(flags.source)
    const folder = ready ? flags.source : (flags.embeddings ?? path.join(made!, 'embeddings'))
    const embedded = ready ? undefined : await embedImages(context, flags, folder)
    const told: Omit<ClassifyJson, 'images' | 'labels' | 'counts' | 'out' | 'rows'> = {
      rejects: embedded?.rejects ?? 0,
      rejectsByCode: embedded?.rejectsByCode ?? {},
      passedOver: embedded?.passedOver ?? joinFacts([]).passedOver,
      notes: embedded?.notes ?? [],
      exitReason: embedded?.exitReason ?? 'done',
    }
    if (told.rejects > 0)
      context.terminal.note(`left out: ${plural(told.rejects, 'image')} (${formatCounts(told.rejectsByCode)})`)
    if (embedded?.interrupted) return { images: 0, labels, counts: {}, out: null, ...told }
    // Labels are embedded as the images are.
    const device = chooseDevice({ ...flags, requireGpu: flags['require-gpu'], autoWebGpu: true })
    const embedder = await openEmbedder({ model: flags.model, device })
    try {
      const set = await embedLabels(embedder, labels, templates)
      const result = await writeRows(context, flags, folder, set, out)
      await out?.finish()
      if (result.images === 0 && told.exitReason === 'done') {
        context.exitCode(EXIT.rejects)
        told.exitReason = 'no_images'
      }
      return { ...result, ...told }
    } finally {
      await embedder.close()
    }
  } finally {
    await out?.abort()
    if (made) await rm(made, { recursive: true, force: true })
  }
}

/** Whether SOURCE is a folder of `vtp embed`, whose images need no second pass of the model. Stored pixels do. */
async function isEmbedded(source: string): Promise<boolean> {
  if (!(await holdsPlan(source))) return false
  const [first] = await findShards(source)
  const shard = await openShard(first!)
  await shard.close()
  const isPixels = shard.columns.some(({ name }) => name === 'pixels')
  return !isPixels || shard.columns.some(({ shape }) => shape.length === 1)
}

async function holdsPlan(source: string): Promise<boolean> {
  if (uriScheme(source) !== 's3') {
    return (await stat(path.join(source, '_vtp', 'plan.json')).catch(() => undefined)) !== undefined
  }
  const store = await openStore(source)
  try {
    return (await store.stat('_vtp/plan.json')) !== undefined
  } finally {
    await store.close()
  }
}

async function embedImages(context: CommandContext, flags: ClassifyFlags, out: string): Promise<EncodeJson> {
  const quiet = { ...context, terminal: withoutResults(context.terminal) }
  const result = await runEncodeCommand(quiet, {
    ...flags,
    out,
    outputs: ['clip'],
    'layers-norm': true,
    flip: false,
    format: 'arrow',
    dtype: 'float32',
    metadata: false,
    'dry-run': false,
  })
  return result as EncodeJson
}

async function writeRows(
  context: CommandContext,
  flags: ClassifyFlags,
  folder: string,
  set: Parameters<typeof classifyShards>[1],
  file: Output | undefined,
): Promise<Pick<ClassifyJson, 'images' | 'labels' | 'counts' | 'out' | 'rows'>> {
  const counts = Object.fromEntries(set.labels.map((label) => [label, 0]))
  const kept: ClassifiedRow[] = []
  const out = file?.stream ?? dataStream()
  const failed = new Promise<never>((_, reject) => out.once('error', reject))
  failed.catch(() => {})
  let images = 0
  const { json, finish } = context.terminal
  for await (const { row, probabilities } of classifyShards(folder, set)) {
    const order = [...set.labels.keys()].sort((a, b) => probabilities[b]! - probabilities[a]!).slice(0, flags.top)
    const top = order.map((i) => ({ label: set.labels[i]!, probability: Number(probabilities[i]!.toPrecision(6)) }))
    const { label, probability } = top[0]!
    counts[label]!++
    images++
    const line: ClassifiedRow = { key: row.key, uri: row.uri, label, probability, top }
    if (json && !flags.out) kept.push(line)
    else if (!out.write(`${jsonText(line)}\n`)) await Promise.race([once(out, 'drain'), failed])
  }
  const shares = Object.entries(counts).filter(([, count]) => count > 0)
  const text = shares.sort((a, b) => b[1] - a[1]).map(([label, count]) => `${label} ${formatCount(count)}`)
  finish([`${plural(images, 'image')}: ${text.slice(0, 20).join(', ')}`])
  const rows = json && !flags.out ? { rows: kept } : {}
  return { images, labels: set.labels, counts, out: flags.out ?? null, ...rows }
}
