/** How the libraries that publish transformers name the tensors of their blocks, and which shapes they have. */
import type { ReadTensor } from '../../graph/read-tensor.js'
import type { Shapes } from '../check-tensors.js'
import { type BlockTensors, linearNamed, normNamed, packedPart, type TransformerShape } from './transformer.js'

export interface BlockLayout {
  /** Reads block `index`. */
  read(read: ReadTensor, index: number): BlockTensors
  /** Adds the shapes of its tensors. */
  shapes(out: Shapes, index: number, shape: TransformerShape): void
}

export function setLinear(out: Shapes, name: string, outer: number, inner: number): void {
  out.set(`${name}.weight`, [outer, inner])
  out.set(`${name}.bias`, [outer])
}

export function setNorm(out: Shapes, name: string, dim: number): void {
  out.set(`${name}.weight`, [dim])
  out.set(`${name}.bias`, [dim])
}

export interface LayoutNames {
  norm1: string
  norm2: string
  /** q, k and v stacked in one Linear (weight and bias), or each by itself. */
  qkv: { weight: string; bias: string } | { q: string; k: string; v: string }
  proj: string
  /** One product, or gate and value stacked in one (`packed`), as DINOv2's SwiGLU has them. */
  up: string
  packedUp?: boolean
  down: string
  scales?: [string, string]
}

/** A layout by the names below `prefix.INDEX.`. */
export function namedLayout(prefix: string, names: LayoutNames): BlockLayout {
  const at = (index: number, name: string): string => `${prefix}.${index}.${name}`
  return {
    read(read, index) {
      const { qkv } = names
      const part = (which: 'q' | 'k' | 'v', i: number): BlockTensors['q'] =>
        'weight' in qkv
          ? packedPart(read, at(index, qkv.weight), at(index, qkv.bias), i, 3)
          : linearNamed(read, at(index, qkv[which]))
      const up = at(index, names.up)
      const [scale1, scale2] = (names.scales ?? []).map((name) => () => read(at(index, name)))
      return {
        norm1: normNamed(read, at(index, names.norm1)),
        q: part('q', 0),
        k: part('k', 1),
        v: part('v', 2),
        proj: linearNamed(read, at(index, names.proj)),
        norm2: normNamed(read, at(index, names.norm2)),
        up: names.packedUp
          ? [0, 1].map((i) => packedPart(read, `${up}.weight`, `${up}.bias`, i, 2))
          : [linearNamed(read, up)],
        down: linearNamed(read, at(index, names.down)),
        scale1,
        scale2,
      }
    },
    shapes(out, index, { dim, hidden }) {
      const { qkv } = names
      setNorm(out, at(index, names.norm1), dim)
      setNorm(out, at(index, names.norm2), dim)
      if ('weight' in qkv) {
        out.set(at(index, qkv.weight), [3 * dim, dim])
        out.set(at(index, qkv.bias), [3 * dim])
      } else for (const name of [qkv.q, qkv.k, qkv.v]) setLinear(out, at(index, name), dim, dim)
      setLinear(out, at(index, names.proj), dim, dim)
      setLinear(out, at(index, names.up), names.packedUp ? 2 * hidden : hidden, dim)
      setLinear(out, at(index, names.down), dim, hidden)
      for (const name of names.scales ?? []) out.set(at(index, name), [dim])
    },
  }
}

/** open_clip's residual attention blocks. */
export function openClipLayout(prefix: string, layerScale: boolean): BlockLayout {
  return namedLayout(prefix, {
    norm1: 'ln_1',
    norm2: 'ln_2',
    qkv: { weight: 'attn.in_proj_weight', bias: 'attn.in_proj_bias' },
    proj: 'attn.out_proj',
    up: 'mlp.c_fc',
    down: 'mlp.c_proj',
    scales: layerScale ? ['ls_1.gamma', 'ls_2.gamma'] : undefined,
  })
}

/** CLIP's and SigLIP's encoder layers in transformers. */
export function transformersClipLayout(prefix: string): BlockLayout {
  return namedLayout(prefix, {
    norm1: 'layer_norm1',
    norm2: 'layer_norm2',
    qkv: { q: 'self_attn.q_proj', k: 'self_attn.k_proj', v: 'self_attn.v_proj' },
    proj: 'self_attn.out_proj',
    up: 'mlp.fc1',
    down: 'mlp.fc2',
  })
}

/** timm's blocks, and those of code made after them: DINOv2's hub (LayerScale, packed SwiGLU), MAE. */
export function timmLayout(
  prefix: string,
  { layerScale = false, packedSwiglu = false }: { layerScale?: boolean; packedSwiglu?: boolean } = {},
): BlockLayout {
  return namedLayout(prefix, {
    norm1: 'norm1',
    norm2: 'norm2',
    qkv: { weight: 'attn.qkv.weight', bias: 'attn.qkv.bias' },
    proj: 'attn.proj',
    up: packedSwiglu ? 'mlp.w12' : 'mlp.fc1',
    packedUp: packedSwiglu,
    down: packedSwiglu ? 'mlp.w3' : 'mlp.fc2',
    scales: layerScale ? ['ls1.gamma', 'ls2.gamma'] : undefined,
  })
}

/** All blocks of a layout. */
export function readBlocks(layout: BlockLayout, read: ReadTensor, depth: number): BlockTensors[] {
  return Array.from({ length: depth }, (_, i) => layout.read(read, i))
}
