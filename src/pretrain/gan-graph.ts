/**
 * A step of the decoder's GAN stage as a graph (LightningDiT's LPIPSWithDiscriminator): reconstructions of given
 * latents, the generator's loss with its adaptive weight, the discriminator's loss on the same reconstructions, and the
 * gradients of both. The tokenizer takes no part: its latents are inputs.
 *
 * The weight of the adversarial part is disc_weight · min(‖∂nll/∂W‖ / (‖∂g/∂W‖ + 1e-4), 1e4), W the decoder's last
 * weight; no gradient passes through it. So the gradients of both parts by the image are added first, and one pass takes
 * the sum through the decoder.
 *
 * Inputs: `latents` [B, d, h, w], `target_u8` [B, H, W, 3], `disc_factor`, `w.NAME` the decoder's parameters, `d.NAME`
 * the discriminator's, `v.NAME` the weights of LPIPS. Images are in −1…1.
 */
import { GraphBuilder, type Value } from '../graph/builder.js'
import { addGradients } from '../graph/gradients/index.js'
import { steadyProducts } from '../graph/steady-products.js'
import { IMAGENET_MEAN, IMAGENET_STD } from '../image/normalize.js'
import { addLpipsMaps } from '../model/lpips/graph.js'
import type { VtpConfig } from '../model/vtp/config.js'
import { addPixelDecoder, type TrainingModel } from '../model/vtp/training.js'
import { addLaplacianL1, addMean, addScaled } from './losses.js'
import { addPatchGan, type NormStatistics, type PatchGanShape, patchGanShapes } from './patchgan.js'
import type { Shapes } from './state.js'

export interface GanSettings extends PatchGanShape {
  disc_loss: 'hinge' | 'vanilla'
  disc_weight: number
  perceptual_weight: number
  /** What is compared pixel by pixel: L1, or L1 on a Laplacian pyramid. */
  pixel_loss: 'l1' | 'laplacian'
  /** Of pixels: the mean, or the sum divided by the images. */
  reduction: 'mean' | 'sum'
}

export interface GanSpec {
  config: VtpConfig
  settings: GanSettings
  rope: TrainingModel['rope']
  periods: Float32Array
  /** The decoder's parameters in their order. */
  decoder: Shapes
  /** [B, d, h, w] */
  latents: readonly [number, number, number, number]
}

export interface GanGraph {
  graph: GraphBuilder
  /** Names of outputs: gradients by parameter, and what is logged. */
  decoderGradients: Map<string, string>
  discriminatorGradients: Map<string, string>
  logged: Map<string, string>
  image: string
  /** Statistics of the discriminator's batch norms over reconstructions and over targets. */
  statistics: Record<'fake' | 'real', Map<string, { mean: string; variance: string; count: number }>>
}

const LAST_WEIGHT = 'pixel_decoder.proj_out.weight'
const [LEAST_SLOPE, MOST_WEIGHT] = [1e-4, 1e4]

export function buildGanGraph(spec: GanSpec): GanGraph {
  const graph = new GraphBuilder()
  const { settings, latents: size } = spec
  const named = (prefix: string, shapes: Shapes): Map<string, Value> =>
    new Map(
      [...shapes].map(([name, shape]) => [
        name,
        graph.input({ name: `${prefix}.${name}`, dtype: 'float32', shape: [...shape] }),
      ]),
    )
  const decoder = named('w', spec.decoder)
  const discriminator = named('d', patchGanShapes(settings))
  const latents = graph.input({ name: 'latents', dtype: 'float32', shape: [...size] })
  const factor = graph.input({ name: 'disc_factor', dtype: 'float32', shape: [] })
  const image = reconstruction(graph, spec, decoder, latents)
  const [batch, , height, width] = image.shape.map(Number) as [number, number, number, number]
  const target = targetPlanes(graph, [batch, height, width])

  const { nll, parts } = reconstructionLoss(graph, settings, image, target)
  const judge = (planes: Value) => addPatchGan(graph, (name) => discriminator.get(name)!, settings, planes)
  const [fake, real] = [judge(image), judge(target)]
  const g = addScaled(graph, addMean(graph, fake.logits), -1)

  const last = decoder.get(LAST_WEIGHT)!
  const [nllImage, nllLast] = addGradients(graph, nll, [image, last]) as [Value, Value]
  const [gImage, gLast] = addGradients(graph, g, [image, last]) as [Value, Value]
  const weight = adaptiveWeight(graph, settings, nllLast, gLast)
  const strength = graph.op('Mul', [weight, factor])
  const slope = graph.op('Add', [nllImage, graph.op('Mul', [gImage, strength])])
  const carried = graph.op('ReduceSum', [graph.op('Mul', [image, slope])], { keepdims: 0 })
  const decoderNames = [...decoder.keys()]
  const decoderSlopes = addGradients(graph, carried, [...decoder.values()], { straightThrough: true, held: [slope] })

  const plain = discriminatorLoss(graph, settings, real.logits, fake.logits)
  const dLoss = graph.op('Mul', [plain, factor])
  const discriminatorSlopes = addGradients(graph, dLoss, [...discriminator.values()])
  const logged: [string, Value][] = [
    ['total', graph.op('Add', [nll, graph.op('Mul', [g, strength])])],
    ['nll', nll],
    ...parts,
    ['g_loss', g],
    ['d_weight', weight],
    ['d_loss', dLoss],
    ['logits_real', addMean(graph, real.logits)],
    ['logits_fake', addMean(graph, fake.logits)],
  ]
  steadyProducts(graph)
  const exposed = (names: readonly string[], values: readonly Value[]): Map<string, string> =>
    new Map(names.map((name, i) => [name, graph.expose(values[i]!)]))
  return {
    graph,
    decoderGradients: exposed(decoderNames, decoderSlopes),
    discriminatorGradients: exposed([...discriminator.keys()], discriminatorSlopes),
    logged: new Map(logged.map(([name, value]) => [name, graph.expose(graph.op('Identity', [value]))])),
    image: graph.expose(graph.op('Identity', [image])),
    statistics: { fake: statisticsOf(graph, fake.statistics), real: statisticsOf(graph, real.statistics) },
  }
}

/** The decoder's normalised pixels, mapped to −1…1. */
function reconstruction(graph: GraphBuilder, spec: GanSpec, decoder: Map<string, Value>, latents: Value): Value {
  const [, channels, h, w] = spec.latents
  const model: TrainingModel = {
    graph,
    config: spec.config,
    rope: spec.rope,
    periods: () => spec.periods,
    parameter: (name) => decoder.get(name)!,
  }
  const tokens = graph.op('Transpose', [latents], { perm: [0, 2, 3, 1] })
  const rows = graph.op('Reshape', [tokens, graph.ints([-1, channels])])
  const planes = addPixelDecoder(model, rows, { h, w })
  const sized = graph.op('Reshape', [planes, graph.ints([spec.latents[0], 3, 16 * h, 16 * w])])
  return toUnit(graph, sized)
}

function toUnit(graph: GraphBuilder, normalised: Value): Value {
  const perChannel = (values: readonly number[]): Value => graph.constant([...values], [1, 3, 1, 1])
  const unit = graph.op('Add', [graph.op('Mul', [normalised, perChannel(IMAGENET_STD)]), perChannel(IMAGENET_MEAN)])
  return graph.op('Sub', [addScaled(graph, unit, 2), graph.scalar(1)])
}

/** uint8 [B, H, W, 3] → planes in −1…1. */
function targetPlanes(graph: GraphBuilder, [batch, height, width]: readonly [number, number, number]): Value {
  const pixels = graph.input({ name: 'target_u8', dtype: 'uint8', shape: [batch, height, width, 3] })
  const planes = graph.op('Transpose', [graph.op('Cast', [pixels], { to: 1 })], { perm: [0, 3, 1, 2] })
  return graph.op('Sub', [graph.op('Div', [planes, graph.scalar(127.5)]), graph.scalar(1)])
}

/** What is minimised but for the adversarial part, and its parts as they are logged, without weights. */
function reconstructionLoss(
  graph: GraphBuilder,
  { perceptual_weight: perceptual, pixel_loss, reduction }: GanSettings,
  image: Value,
  target: Value,
): { nll: Value; parts: [string, Value][] } {
  const pixel =
    pixel_loss === 'laplacian'
      ? addLaplacianL1(graph, image, target)
      : addMean(graph, graph.op('Abs', [graph.op('Sub', [image, target])]))
  const parts: [string, Value][] = [[`rec_${pixel_loss}`, pixel]]
  let rec = pixel
  if (perceptual !== 0) {
    const weight = (name: string, shape: number[]): Value => graph.input({ name: `v.${name}`, dtype: 'float32', shape })
    const maps = addLpipsMaps(graph, weight, image, target, true)
    const lpips = maps.map((map) => addMean(graph, map)).reduce((sum, value) => graph.op('Add', [sum, value]))
    parts.push(['rec_lpips', lpips])
    rec = graph.op('Add', [pixel, addScaled(graph, lpips, perceptual)])
  }
  const pixels = image.shape.slice(1).reduce<number>((product, side) => product * Number(side), 1)
  return { nll: reduction === 'mean' ? rec : addScaled(graph, rec, pixels), parts }
}

function adaptiveWeight(graph: GraphBuilder, { disc_weight }: GanSettings, nll: Value, g: Value): Value {
  const norm = (x: Value): Value =>
    graph.op('Sqrt', [graph.op('ReduceSum', [graph.op('Mul', [x, x])], { keepdims: 0 })])
  const ratio = graph.op('Div', [norm(nll), graph.op('Add', [norm(g), graph.scalar(LEAST_SLOPE)])])
  return addScaled(graph, graph.op('Min', [ratio, graph.scalar(MOST_WEIGHT)]), disc_weight)
}

function discriminatorLoss(graph: GraphBuilder, { disc_loss: kind }: GanSettings, real: Value, fake: Value): Value {
  const part = (logits: Value, sign: number): Value => {
    const signed = addScaled(graph, logits, sign)
    const each =
      kind === 'hinge' ? graph.op('Relu', [graph.op('Add', [signed, graph.scalar(1)])]) : graph.op('Softplus', [signed])
    return addMean(graph, each)
  }
  return addScaled(graph, graph.op('Add', [part(real, -1), part(fake, 1)]), 0.5)
}

function statisticsOf(
  graph: GraphBuilder,
  found: ReadonlyMap<string, NormStatistics>,
): Map<string, { mean: string; variance: string; count: number }> {
  return new Map(
    [...found].map(([name, { mean, variance, count }]) => [
      name,
      { mean: graph.expose(mean), variance: graph.expose(variance), count },
    ]),
  )
}
