/**
 * Which tensors, of which shapes, a configuration implies, and the other way round. Everything that is
 * wrong with a checkpoint is named in one message. Names: the reference's state dict.
 */
import { usageError } from '../../errors.js'
import { checkDitConfig, DIT_SIZES, type DitConfig, ditFfnWidth, ditName, ditTokens } from './config.js'

export type Shapes = ReadonlyMap<string, readonly number[]>

/** Buffers that a checkpoint may lack: they follow from the configuration. */
export function isBuffer(name: string): boolean {
  return name.startsWith('feat_rope.')
}

/** Every tensor of the state dict with its shape. */
export function expectedDitTensors(config: DitConfig): Map<string, number[]> {
  const { hiddenSize: d, inChannels, patchSize: p } = config
  const tokens = ditTokens(config)
  const headDim = d / config.numHeads
  const ffn = ditFfnWidth(config)
  const out = new Map<string, number[]>()
  const linear = (name: string, rows: number, columns: number): void => {
    out.set(`${name}.weight`, [rows, columns])
    out.set(`${name}.bias`, [rows])
  }
  out.set('pos_embed', [1, tokens, d])
  out.set('x_embedder.proj.weight', [d, inChannels, p, p])
  out.set('x_embedder.proj.bias', [d])
  linear('t_embedder.mlp.0', d, 256)
  linear('t_embedder.mlp.2', d, d)
  out.set('y_embedder.embedding_table.weight', [config.numClasses + (config.nullClass ? 1 : 0), d])
  if (config.rope) for (const f of ['cos', 'sin']) out.set(`feat_rope.freqs_${f}`, [tokens, headDim])
  for (let i = 0; i < config.depth; i++) {
    const block = `blocks.${i}`
    if (config.rmsNorm) for (const n of ['norm1', 'norm2']) out.set(`${block}.${n}.weight`, [d])
    linear(`${block}.attn.qkv`, 3 * d, d)
    if (config.qkNorm) {
      for (const n of ['q_norm', 'k_norm']) {
        out.set(`${block}.attn.${n}.weight`, [headDim])
        if (!config.rmsNorm) out.set(`${block}.attn.${n}.bias`, [headDim])
      }
    }
    linear(`${block}.attn.proj`, d, d)
    if (config.swiglu) {
      linear(`${block}.mlp.w12`, 2 * ffn, d)
      linear(`${block}.mlp.w3`, d, ffn)
    } else {
      linear(`${block}.mlp.fc1`, ffn, d)
      linear(`${block}.mlp.fc2`, d, ffn)
    }
    linear(`${block}.adaLN_modulation.1`, (config.woShift ? 4 : 6) * d, d)
  }
  if (config.rmsNorm) out.set('final_layer.norm_final.weight', [d])
  linear('final_layer.linear', p * p * inChannels * (config.learnSigma ? 2 : 1), d)
  linear('final_layer.adaLN_modulation.1', 2 * d, d)
  return out
}

/** Parameters as torch counts them: the fixed position embedding is one, RoPE's tables are not. */
export function ditParameters(config: DitConfig): number {
  let total = 0
  for (const [name, shape] of expectedDitTensors(config)) {
    if (!isBuffer(name)) total += shape.reduce((a, b) => a * b, 1)
  }
  return total
}

const MAX_NAMED = 6

/** Throws `dit_mismatch`, naming every difference, when a checkpoint is not of this configuration. */
export function checkDitTensors(config: DitConfig, tensors: Shapes, file: string): void {
  const expected = expectedDitTensors(config)
  const wrong: string[] = []
  for (const [name, shape] of expected) {
    const there = tensors.get(name)
    if (!there) {
      if (!isBuffer(name)) wrong.push(`${name} is missing`)
    } else if (there.join() !== shape.join()) wrong.push(`${name} is [${there}], not [${shape}]`)
  }
  for (const name of tensors.keys()) if (!expected.has(name) && !isBuffer(name)) wrong.push(`${name} is not expected`)
  if (wrong.length === 0) return
  const named = wrong.slice(0, MAX_NAMED).join('; ')
  const more = wrong.length > MAX_NAMED ? `; and ${wrong.length - MAX_NAMED} more` : ''
  throw usageError('dit_mismatch', `${file} is not a checkpoint of ${describe(config)}: ${named}${more}`, [
    'give the configuration that it was trained with (--dit-config)',
    'leave --dit-config out: the shape is then read from the checkpoint',
  ])
}

function describe(config: DitConfig): string {
  const options = [
    config.qkNorm && 'qk-norm',
    config.rmsNorm && 'RMSNorm',
    config.rope && 'RoPE',
    config.swiglu && 'SwiGLU',
    config.woShift && 'without shifts',
    config.learnSigma && 'learned sigma',
  ].filter(Boolean)
  return `${ditName(config)} for latents [${config.inChannels},${config.inputSize},${config.inputSize}] and ${config.numClasses} classes (${options.join(', ') || 'no options'})`
}

/**
 * The configuration that a state dict's shapes imply. The number of heads shows in q_norm or in RoPE's
 * tables, else in the size. Throws usage errors `not_a_dit`, `dit_heads_unknown`.
 */
export function inferDitConfig(tensors: Shapes, file: string, heads?: number): DitConfig {
  const need = (name: string, rank: number): readonly number[] => {
    const shape = tensors.get(name)
    if (shape?.length === rank) return shape
    const seen = [...tensors.keys()].slice(0, 3).join(', ')
    throw usageError(
      'not_a_dit',
      `${file} is not a LightningDiT checkpoint: ${shape ? `${name} is [${shape}]` : `it has no tensor ${name}`}${seen ? ` (it holds ${seen}, …)` : ''}`,
      ['give the .pt file that LightningDiT trains, or its state dict as .safetensors'],
    )
  }
  const [hiddenSize = 0, inChannels = 0, patchSize = 0] = need('x_embedder.proj.weight', 4)
  const [, tokens = 0] = need('pos_embed', 3)
  const [rows = 0] = need('y_embedder.embedding_table.weight', 2)
  const [adaRows = 0] = need('blocks.0.adaLN_modulation.1.weight', 2)
  const [outRows = 0] = need('final_layer.linear.weight', 2)
  let depth = 0
  while (tensors.has(`blocks.${depth}.attn.qkv.weight`)) depth++
  const rope = tensors.get('feat_rope.freqs_cos')
  const headDim = tensors.get('blocks.0.attn.q_norm.weight')?.[0] ?? rope?.[1]
  const known = Object.values(DIT_SIZES).find((s) => s.hiddenSize === hiddenSize && s.depth === depth)
  const numHeads = heads ?? (headDim ? hiddenSize / headDim : known?.numHeads)
  if (numHeads === undefined) {
    throw usageError('dit_heads_unknown', `The number of attention heads does not follow from ${file}`, [
      'give it with --heads, or the configuration with --dit-config',
    ])
  }
  return checkDitConfig({
    inputSize: Math.round(Math.sqrt(tokens)) * patchSize,
    patchSize,
    inChannels,
    hiddenSize,
    depth,
    numHeads,
    mlpRatio: inferMlpRatio(tensors, hiddenSize),
    numClasses: rows - 1,
    nullClass: true,
    learnSigma: outRows === 2 * patchSize * patchSize * inChannels,
    qkNorm: tensors.has('blocks.0.attn.q_norm.weight'),
    swiglu: tensors.has('blocks.0.mlp.w12.weight'),
    rope: rope !== undefined,
    rmsNorm: tensors.has('blocks.0.norm1.weight'),
    woShift: adaRows === 4 * hiddenSize,
  })
}

/** From the rows of the feed-forward network's first layer; 4, the reference's, wherever that fits. */
function inferMlpRatio(tensors: Shapes, hiddenSize: number): number {
  const swiglu = tensors.has('blocks.0.mlp.w12.weight')
  const rows = tensors.get(swiglu ? 'blocks.0.mlp.w12.weight' : 'blocks.0.mlp.fc1.weight')?.[0]
  if (rows === undefined) return 4
  const width = swiglu ? rows / 2 : rows
  // SwiGLU's width is two thirds, rounded down, of the MLP's: up to two widths of the MLP lead to it.
  const least = swiglu ? Math.ceil(width * 1.5) : width
  const ratios = [4, least / hiddenSize, (least + 1) / hiddenSize]
  return ratios.find((mlpRatio) => ditFfnWidth({ hiddenSize, mlpRatio, swiglu }) === width) ?? 4
}
