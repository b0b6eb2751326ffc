/** `vtp model info|export|pull` between their flags and the model code. */
import { copyFile, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { usageError, VtpError } from '../../errors.js'
import { writeAtomically } from '../../io/atomic.js'
import { resolveHubModel } from '../../model/hub/index.js'
import {
  decoderOf,
  type GraphFile,
  type ImageModel,
  type ImageSize,
  type ModelOutput,
  openModel,
  textOf,
} from '../../model/index.js'
import type { TensorColumn } from '../../types.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { MODEL_EXPORT_FLAGS } from '../flags/model-flags.js'
import { formatBytes, formatTable, plural } from '../terminal/format.js'
import { onStopSignals } from '../terminal/signals.js'

/** The stable object of `vtp model info --json`. */
export interface ModelInfoJson {
  name: string
  folder: string
  /** SHA-256 over configuration and weights; part of every plan. */
  digest: string
  /** Parameters per tower, as the model card counts them. */
  parameters: Record<string, number>
  /** The input that it was trained for: the side, or height and width. */
  imageSize: number | ImageSize
  /** What one pass gives for an image of that size, per image. */
  outputs: TensorColumn[]
  towers: Tower[]
  config: Readonly<Record<string, unknown>>
}

export const TOWERS = ['encoder', 'decoder', 'text'] as const
export type Tower = (typeof TOWERS)[number]

function towersOf(model: ImageModel): Tower[] {
  return TOWERS.filter((tower) => tower === 'encoder' || model[tower] !== undefined)
}

/** Opens a model with progress on stderr, does something with it, and closes it. */
export async function withModel<T>(
  context: CommandContext,
  ref: string,
  use: (model: ImageModel, note: (line: string) => void) => Promise<T>,
): Promise<T> {
  const progress = context.terminal
  const model = await openModel(ref, { onNote: progress.note })
  try {
    return await use(model, progress.note)
  } finally {
    await model.close()
    progress.close()
  }
}

export function runModelInfo(context: CommandContext, ref: string): Promise<ModelInfoJson> {
  return withModel(context, ref, async (model) => {
    const { height, width } = model.imageSize
    const info: ModelInfoJson = {
      name: model.name,
      folder: path.resolve(model.folder),
      digest: model.digest,
      parameters: parameterJson(model),
      imageSize: height === width ? height : { height, width },
      outputs: model.outputs(model.imageSize),
      towers: towersOf(model),
      config: model.settings,
    }
    context.terminal.print(describeInfo(info, model))
    return info
  })
}

/** By part and in total. */
function parameterJson({ parameters: { parts, total } }: ImageModel): Record<string, number> {
  return { ...Object.fromEntries(parts.map(({ key, count }) => [key, count])), total }
}

const millions = (count: number): string => `${(count / 1e6).toFixed(1)} M`

function describeInfo(info: ModelInfoJson, { parameters, imageSize }: ImageModel): string[] {
  const { parts, total } = parameters
  const counts = [
    ...parts.filter(({ count }) => count > 0).map(({ title, count }) => [title, millions(count)]),
    ['total', millions(total)],
  ]
  const outputs = info.outputs.map(({ name, shape }) => [name, `[${shape.join(', ')}]`])
  const settings = Object.entries(info.config).map(([key, value]) => [key, JSON.stringify(value)])
  const indent = '  '
  return [
    `${info.name} (${info.folder})`,
    `digest ${info.digest}`,
    '',
    'Parameters:',
    ...formatTable(counts, { right: [1], indent }),
    '',
    `Outputs of one pass for an image of ${imageSize.width}×${imageSize.height}:`,
    ...formatTable(outputs, { indent }),
    '',
    'Configuration:',
    ...formatTable(settings, { indent }),
  ]
}

export type ExportFlags = FlagValues<typeof MODEL_EXPORT_FLAGS> & { model: string }

export interface ExportedGraph {
  tower: Tower
  file: string
  /** The weights lie beside the graph, under the name that the graph holds. */
  weights: string
  bytes: number
  inputs: GraphFile['inputs']
  outputs: GraphFile['outputs']
}

/** The stable object of `vtp model export --json`; also written to the folder as export.json. */
export interface ModelExportJson {
  model: string
  digest: string
  imageSize: { height: number; width: number }
  graphs: ExportedGraph[]
}

export function runModelExport(context: CommandContext, flags: ExportFlags): Promise<ModelExportJson> {
  return withModel(context, flags.model, async (model, note) => {
    const size = flags['image-size'] ?? model.imageSize
    const available = towersOf(model)
    const towers = flags.towers ?? available
    const absent = towers.find((tower) => !available.includes(tower))
    if (absent) {
      throw usageError('no_such_tower', `--towers: the model ${model.name} has no ${absent} tower`, [
        `it has ${available.join(', ')}`,
      ])
    }
    await mkdir(flags.out, { recursive: true }).catch((error: unknown) => {
      const suggestions = ['choose another --out']
      throw new VtpError(`The folder ${flags.out} cannot be made: ${String(error)}`, {
        code: 'out_unwritable',
        suggestions,
      })
    })
    const graphs: ExportedGraph[] = []
    for (const tower of towers) {
      const graph = await compileTower(model, tower, size, flags)
      graphs.push(await copyGraph(graph, tower, flags.out))
      if (!context.terminal.json) note(`${graphs.at(-1)!.file}: ${formatBytes(graphs.at(-1)!.bytes)}`)
    }
    const result: ModelExportJson = { model: model.name, digest: model.digest, imageSize: size, graphs }
    await writeFile(path.join(flags.out, 'export.json'), `${JSON.stringify(result, null, 2)}\n`)
    context.terminal.print(describeExport(result))
    return result
  })
}

function compileTower(model: ImageModel, tower: Tower, size: ImageSize, flags: ExportFlags): Promise<GraphFile> {
  if (tower === 'text') return textOf(model).compile()
  if (tower === 'decoder') {
    const [, height, width] = decoderOf(model).latentShape(size)
    return decoderOf(model).compile({ height, width, outputs: ['pixels', 'image'] })
  }
  const { depth } = model
  const last = Array.isArray(flags.layers) ? 0 : (flags.layers?.last ?? 0)
  const layers = Array.isArray(flags.layers) ? flags.layers : Array.from({ length: last }, (_, i) => depth - last + i)
  const wrong = layers.find((layer) => layer < 0 || layer >= depth)
  if (wrong !== undefined) {
    throw usageError('bad_layers', `--layers: the model ${model.name} has no block ${wrong}`, [
      depth === 0 ? 'leave --layers out' : `blocks run from 0 to ${depth - 1}`,
    ])
  }
  const known = model.outputs(size).map(({ name }) => name as ModelOutput)
  const outputs: ModelOutput[] = flags.outputs ?? known
  const absent = outputs.find((name) => !known.includes(name))
  if (absent)
    throw usageError('unknown_output', `--outputs: the model ${model.name} has no output "${absent}"`, [
      `it has ${known.join(', ')}`,
    ])
  return model.compileEncoder({
    height: size.height,
    width: size.width,
    outputs: layers.length > 0 ? [...outputs, 'layers'] : outputs,
    layers,
    dtype: flags.dtype,
    precision: 'fp32',
    device: 'cpu',
  })
}

/** A graph and its weights as `encoder.onnx` and `encoder.weights`. */
async function copyGraph(graph: GraphFile, tower: Tower, out: string): Promise<ExportedGraph> {
  const file = path.join(out, `${tower}.onnx`)
  const weights = path.join(out, `${tower}.weights`)
  await writeAtomically(weights, (tmp) => copyFile(graph.weights, tmp))
  await writeAtomically(file, async (tmp) => writeFile(tmp, await readFile(graph.path)))
  const bytes = (await stat(file)).size + (await stat(weights)).size
  // Relative to the folder, which may be moved.
  const names = { file: path.basename(file), weights: path.basename(weights) }
  return { tower, ...names, bytes, inputs: graph.inputs, outputs: graph.outputs }
}

function describeExport({ graphs }: ModelExportJson): string[] {
  return graphs.flatMap(({ file, inputs, outputs }) => [
    file,
    ...[...inputs.map((port) => ['in', port] as const), ...outputs.map((port) => ['out', port] as const)].map(
      ([way, { name, dtype, shape }]) => `  ${way.padEnd(3)} ${name} ${dtype}[${shape.join(', ')}]`,
    ),
  ])
}

/** The stable object of `vtp model pull --json`. */
export interface ModelPullJson {
  model: string
  folder: string
  /** The commit that the snapshot belongs to. */
  commit: string
  files: { name: string; bytes: number }[]
}

export async function runModelPull(context: CommandContext, ref: string): Promise<ModelPullJson> {
  const progress = context.terminal
  const stop = onStopSignals(progress.note)
  const shown = new Map<string, number>()
  try {
    const folder = await resolveHubModel(ref, {
      verify: true,
      signal: stop.signal,
      onProgress: progress.note,
      onBytes: ({ file, done, total }) => {
        // A line per tenth of a file.
        const tenth = Math.floor((done / total) * 10)
        if (total < 1e6 || tenth === (shown.get(file) ?? 0)) return
        shown.set(file, tenth)
        progress.note(`${file}: ${formatBytes(done)} of ${formatBytes(total)}`)
      },
    })
    const files: ModelPullJson['files'] = []
    for (const name of (await readdir(folder, { recursive: true })).sort()) {
      const info = await stat(path.join(folder, name))
      if (info.isFile()) files.push({ name, bytes: info.size })
    }
    const result: ModelPullJson = { model: ref, folder, commit: path.basename(folder), files }
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
    progress.finish([`${ref}: ${plural(files.length, 'file')}, ${formatBytes(bytes)}, checked`])
    progress.print([folder])
    return result
  } catch (error) {
    if (!stop.signal.aborted) throw error
    throw new VtpError(`The download of ${ref} was interrupted`, {
      code: 'interrupted',
      exitCode: 4,
      suggestions: ['run the same command again: it resumes where it stopped'],
    })
  } finally {
    stop.release()
    progress.close()
  }
}
