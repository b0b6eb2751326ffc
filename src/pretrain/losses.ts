/**
 * The losses of joint pre-training as nodes; each gives a scalar. References: OpenCLIP (ClipLoss, SigLipLoss), DINOv2
 * (DINOLoss, iBOTPatchLoss, KoLeoLoss) and LPIPS; what each computes and which choices are ours is in
 * docs/pretraining.md. All in float32. Targets (targets.ts) come without a gradient.
 */
import type { GraphBuilder, Value } from '../graph/builder.js'
import { IMAGENET_MEAN, IMAGENET_STD } from '../image/normalize.js'
import { addLpipsMaps } from '../model/lpips/graph.js'

/** Temperature of the student. */
const STUDENT_TEMPERATURE = 0.1
const KOLEO_EPSILON = 1e-8

const mean = (graph: GraphBuilder, x: Value): Value => graph.op('ReduceMean', [x], { keepdims: 0 })
const total = (graph: GraphBuilder, x: Value): Value => graph.op('ReduceSum', [x], { keepdims: 0 })
const scale = (graph: GraphBuilder, x: Value, by: number): Value => graph.op('Mul', [x, graph.scalar(by)])
const rowsOf = (x: Value): number => Number(x.shape[0])

/** Rows by their length, which is at least `least`: torch.nn.functional.normalize. */
export function addUnitRows(graph: GraphBuilder, x: Value, least = 1e-12): Value {
  const norm = graph.op('ReduceL2', [x, graph.ints([-1])], { keepdims: 1 })
  return graph.op('Div', [x, graph.op('Max', [norm, graph.scalar(least)])])
}

function identity(graph: GraphBuilder, n: number, on: number, off: number): Value {
  return graph.constant(
    Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? on : off)),
    [n, n],
  )
}

export interface ContrastiveInputs {
  /** Unit rows [B, D]. */
  images: Value
  texts: Value
  /** The logarithm that is trained; a scalar or [1]. */
  logitScale: Value
  logitBias?: Value
}

/** s X Yᵀ (+ bias), [B, B]. */
export function addContrastiveLogits(
  graph: GraphBuilder,
  { images, texts, logitScale, logitBias }: ContrastiveInputs,
): Value {
  const products = graph.op('Gemm', [images, texts], { transB: 1 })
  const scaled = graph.op('Mul', [products, graph.op('Exp', [logitScale])])
  return logitBias ? graph.op('Add', [scaled, logitBias]) : scaled
}

/** Mean of the cross-entropies by rows and by columns against the diagonal. */
export function addClipLoss(graph: GraphBuilder, logits: Value): Value {
  const n = rowsOf(logits)
  const own = (axis: number): Value =>
    total(graph, graph.op('Mul', [graph.op('LogSoftmax', [logits], { axis }), identity(graph, n, 1, 0)]))
  return scale(graph, graph.op('Add', [own(1), own(0)]), -1 / (2 * n))
}

/** −Σ log σ(± logit) / B, + on the diagonal. */
export function addSigLipLoss(graph: GraphBuilder, logits: Value): Value {
  const n = rowsOf(logits)
  const signed = graph.op('Mul', [logits, identity(graph, n, -1, 1)])
  return scale(graph, total(graph, graph.op('Softplus', [signed])), 1 / n)
}

/** Which images belong to which of the distinct captions. */
export interface CaptionMatches {
  /** [B, U]: 1 / B where image and caption belong together, else 0. */
  byImage: Value
  /** [B, U]: 1 / (U · images of the caption) where they belong together, else 0. */
  byCaption: Value
}

/**
 * The contrastive loss where equal captions are one: from image to caption the cross-entropy over the distinct captions,
 * from caption to image the mean over its images. Without equal captions it is `addClipLoss`. Logits [B, U].
 */
export function addDistinctClipLoss(graph: GraphBuilder, logits: Value, { byImage, byCaption }: CaptionMatches): Value {
  const own = (weights: Value, axis: number): Value =>
    total(graph, graph.op('Mul', [graph.op('LogSoftmax', [logits], { axis }), weights]))
  return scale(graph, graph.op('Add', [own(byImage, 1), own(byCaption, 0)]), -1 / 2)
}

/** SigLIP's loss over distinct captions: + wherever image and caption belong together. */
export function addDistinctSigLipLoss(graph: GraphBuilder, logits: Value, { byImage }: CaptionMatches): Value {
  const own = graph.op('Greater', [byImage, graph.scalar(0)])
  const signed = graph.op('Mul', [logits, graph.op('Where', [own, graph.scalar(-1), graph.scalar(1)])])
  return scale(graph, total(graph, graph.op('Softplus', [signed])), 1 / rowsOf(logits))
}

/** log p of the student, by rows. */
function logStudent(graph: GraphBuilder, logits: Value): Value {
  const scaled = graph.op('Div', [logits, graph.scalar(STUDENT_TEMPERATURE)])
  return graph.op('LogSoftmax', [scaled], { axis: -1 })
}

/** Σ over crops and teacher views of the mean cross-entropy over images; student [S·B, K], targets [V·B, K], crop-major. */
export function addDinoPairs(graph: GraphBuilder, student: Value, targets: Value, images: number): Value {
  const width = Number(student.shape[1])
  const cube = (x: Value): Value => graph.op('Reshape', [x, graph.ints([-1, images, width])])
  const views = graph.op('ReduceSum', [cube(targets), graph.ints([0])], { keepdims: 1 }) // [1, B, K]
  const products = graph.op('Mul', [cube(logStudent(graph, student)), views])
  return scale(graph, total(graph, products), -1 / images)
}

/** Mean cross-entropy of row against row. */
export function addDinoRows(graph: GraphBuilder, student: Value, targets: Value): Value {
  const products = graph.op('Mul', [logStudent(graph, student), targets])
  return scale(graph, total(graph, products), -1 / rowsOf(student))
}

/** Masked patches [M, K], each with the weight 1 / (masked patches of its crop); `crops` counts unmasked ones, too. */
export function addIbotLoss(graph: GraphBuilder, student: Value, targets: Value, weights: Value, crops: number): Value {
  const products = graph.op('Mul', [logStudent(graph, student), targets])
  const rows = graph.op('ReduceSum', [products, graph.ints([-1])], { keepdims: 0 }) // [M]
  return scale(graph, total(graph, graph.op('Mul', [rows, weights])), -1 / crops)
}

/** −mean log of the distance to the nearest other row; features [B, D] before the head. */
export function addKoleo(graph: GraphBuilder, features: Value): { loss: Value; nearest: Value } {
  const n = rowsOf(features)
  const unit = addUnitRows(graph, features, KOLEO_EPSILON)
  const dots = graph.op('Gemm', [unit, unit], { transB: 1 })
  // Below every cosine, so that no row is its own neighbour.
  const others = graph.op('Where', [graph.constant(diagonal(n), [n, n], 'bool'), graph.scalar(-1), dots])
  const nearest = graph.op('ArgMax', [others], { axis: 1, keepdims: 0, select_last_index: 0 })
  const neighbours = graph.op('Gather', [unit, nearest], { axis: 0 })
  const apart = graph.op('Add', [graph.op('Sub', [unit, neighbours]), graph.scalar(KOLEO_EPSILON)])
  const distance = graph.op('ReduceL2', [apart, graph.ints([1])], { keepdims: 0 })
  const logs = graph.op('Log', [graph.op('Add', [distance, graph.scalar(KOLEO_EPSILON)])])
  return { loss: scale(graph, mean(graph, logs), -1), nearest }
}

const diagonal = (n: number): number[] => Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0))

export function addL1(graph: GraphBuilder, image: Value, target: Value): Value {
  return mean(graph, graph.op('Abs', [graph.op('Sub', [image, target])]))
}

/** Levels of the pyramid; the coarsest is what is left. */
const PYRAMID_LEVELS = 4

/**
 * L1 on a Laplacian pyramid of planes [B, 3, H, W]: the sum over levels of the mean absolute difference of what halving
 * the size by means of 2 × 2 takes away, and of what is left. Sides are multiples of 8.
 */
export function addLaplacianL1(graph: GraphBuilder, image: Value, target: Value): Value {
  const size = (x: Value, ...shape: number[]): Value => graph.op('Reshape', [x, graph.ints(shape)])
  const absolute = (x: Value): Value => mean(graph, graph.op('Abs', [x]))
  let [height, width] = image.shape.slice(2).map(Number) as [number, number]
  let difference = graph.op('Sub', [image, target])
  const parts: Value[] = []
  for (let level = 1; level < PYRAMID_LEVELS; level++) {
    ;[height, width] = [height / 2, width / 2]
    const cells = size(difference, -1, height, 2, width, 2)
    const means = graph.op('ReduceMean', [cells, graph.ints([2, 4])], { keepdims: 1 })
    parts.push(absolute(graph.op('Sub', [cells, means])))
    difference = size(means, -1, height, width)
  }
  return [...parts, absolute(difference)].reduce((sum, part) => graph.op('Add', [sum, part]))
}

/** Mean entropy of targets [M, K] in nats: 0 where each is one prototype, log K where all are alike. */
export function addEntropy(graph: GraphBuilder, targets: Value): Value {
  const logs = graph.op('Log', [graph.op('Max', [targets, graph.scalar(1e-30)])])
  return scale(graph, total(graph, graph.op('Mul', [targets, logs])), -1 / rowsOf(targets))
}

/** How far apart the directions of rows [B, D] are: 1 − ‖mean of the unit rows‖²; 0 where all are one. */
export function addSpread(graph: GraphBuilder, rows: Value): Value {
  const centre = graph.op('ReduceMean', [addUnitRows(graph, rows), graph.ints([0])], { keepdims: 0 })
  return graph.op('Sub', [graph.scalar(1), total(graph, graph.op('Mul', [centre, centre]))])
}

/** LPIPS of each pair of normalised planes, mapped to −1…1 and not clamped: [B]. */
export function addPerceptual(
  graph: GraphBuilder,
  weight: (name: string, shape: number[]) => Value,
  image: Value,
  target: Value,
): Value {
  const perChannel = (values: readonly number[]): Value => graph.constant([...values], [1, 3, 1, 1])
  const centred = (x: Value): Value => {
    const unit = graph.op('Add', [graph.op('Mul', [x, perChannel(IMAGENET_STD)]), perChannel(IMAGENET_MEAN)])
    return graph.op('Sub', [scale(graph, unit, 2), graph.scalar(1)])
  }
  const maps = addLpipsMaps(graph, weight, centred(image), centred(target), true)
  const means = maps.map((map) => graph.op('ReduceMean', [map, graph.ints([1, 2, 3])], { keepdims: 0 }))
  return means.reduce((sum, value) => graph.op('Add', [sum, value]))
}

/** Σ weight · value of scalars. */
export function addWeighted(graph: GraphBuilder, parts: readonly (readonly [number, Value])[]): Value {
  return parts
    .map(([weight, value]) => (weight === 1 ? value : scale(graph, value, weight)))
    .reduce((sum, value) => graph.op('Add', [sum, value]))
}

export const addMean = mean
export const addScaled = scale
