/** Reference data of the peers: cases made by their official code, in the layout of their published files. */
import { readdirSync, readFileSync } from 'node:fs'
import * as ort from '../../src/engine/runtime.js'
import type { GraphFile } from '../../src/graph/compile.js'
import { openSafetensors, type SafetensorsFile } from '../../src/io/safetensors.js'
import type { EncoderSpec, ImageModel } from '../../src/model/index.js'
import { goldenPath } from '../golden.js'

export interface Tolerance {
  rel_l2: number
  rel_max: number
}

export interface PeerExpected {
  family: string
  spec: Record<string, unknown> & { layers?: number[] }
  outputs: Record<string, { shape: number[]; dtype: string; tolerance?: Tolerance }>
}

export interface PeerCase {
  name: string
  folder: string
  expected: PeerExpected
  golden: SafetensorsFile
}

/** Every reference case; the file that is given where a case is not a folder of its own. */
export const PEER_CASES: [name: string, file?: string][] = [
  ['clip_hf_gelu'],
  ['clip_hf_quickgelu'],
  ['openclip_fullvocab'],
  ['openclip_gelu'],
  ['openclip_quickgelu_fp16_bin'],
  ['openclip_wide_ratio_rect'],
  ['siglip_hf'],
  ['siglip_hf_so400m_like'],
  ['siglip_openclip_gelu'],
  ['siglip2_openclip_tanh'],
  ['dinov2_hf'],
  ['dinov2_hf_reg_swiglu'],
  ['dinov2_hub'],
  ['dinov2_hub_native', 'dinov2_vitl14_reg4_pretrain.pth'],
  ['dinov2_hub_reg_swiglu'],
  ['mae_pretrain'],
  ['mae_full', 'mae_visualize_vit_large.pth'],
  ['mae_finetuned', 'mae_finetuned_vit_large.pth'],
  ['mae_hf'],
  ['rae_dinov2'],
  ['rae_siglip2'],
  ['rae_mae', 'config.yaml'],
  ['vavae'],
  ['vavae_training_ckpt', 'vavae-imagenet256-f16d64-dinov2-50ep.ckpt'],
  ['unitok_attn'],
  ['unitok_linear_query', 'unitok_tokenizer.pth'],
  ['vilau'],
  ['vilau_shared_resized'],
]

/** Reference data that is not an output of the image encoder. */
const NOT_ENCODED =
  /^(text|in\.|logits_per|registers|pos_embed_used|decoded|sample_noise|latents_sample|resized|codes_embedded|pre_quant|encoder_tokens|quant_features|latents_tokens|decoded_from)/
/** Names of the reference data that our graphs call otherwise. */
export const SAME_OUTPUT: Record<string, string> = { clip_features_quantised: 'clip_features' }

type Tensors = Record<string, { data: ArrayLike<number>; dims: readonly number[] }>

/** Names of the reference data that are outputs of the image encoder. */
export function encoderKeys(expected: PeerExpected): string[] {
  return Object.keys(expected.outputs).filter((key) => !NOT_ENCODED.test(key))
}

/** Runs the image encoder on a case's images: every output that there is reference data of, by its name there. */
export async function encodeCase({ expected, golden }: PeerCase, model: ImageModel): Promise<Tensors> {
  const input = golden.tensors.get('in.pixels_u8')!
  const [, height = 0, width = 0] = input.shape
  const keys = encoderKeys(expected)
  const names = [...new Set(keys.map((key) => (key.startsWith('layer_') ? 'layers' : (SAME_OUTPUT[key] ?? key))))]
  const layers = expected.spec.layers ?? []
  const spec = { height, width, layers, dtype: 'float32', precision: 'fp32', device: 'cpu' } as const
  const graph = await model.compileEncoder({ ...spec, outputs: names as EncoderSpec['outputs'] })
  const pixels = new ort.Tensor('uint8', await golden.readBytes('in.pixels_u8'), input.shape)
  const outputs = await runGraph(graph, { pixels })
  return Object.fromEntries(keys.map((key) => [key, outputs[SAME_OUTPUT[key] ?? key]!]))
}

/** Names of the cases whose folder holds a file. */
export function peerCases(file = 'cases.safetensors'): string[] {
  return readdirSync(goldenPath('peers')).filter(
    (name) => name !== 'pos_embed' && readdirSync(goldenPath('peers')).includes(name) && hasFile(name, file),
  )
}

function hasFile(name: string, file: string): boolean {
  try {
    return readdirSync(goldenPath('peers', name)).includes(file)
  } catch {
    return false
  }
}

export async function openPeerCase(name: string): Promise<PeerCase> {
  const folder = goldenPath('peers', name)
  const expected = JSON.parse(readFileSync(goldenPath('peers', name, 'expected.json'), 'utf8')) as PeerExpected
  return { name, folder, expected, golden: await openSafetensors(goldenPath('peers', name, 'cases.safetensors')) }
}

/** ||a-b|| / ||b|| and max|a-b| / max|b|. */
export function relativeErrors(a: ArrayLike<number>, b: ArrayLike<number>): Tolerance {
  let [diff, norm, worst, largest] = [0, 0, 0, 0]
  for (let i = 0; i < b.length; i++) {
    const d = Math.abs(a[i]! - b[i]!)
    diff += d * d
    norm += b[i]! ** 2
    worst = Math.max(worst, Number.isNaN(d) ? Number.POSITIVE_INFINITY : d)
    largest = Math.max(largest, Math.abs(b[i]!))
  }
  return { rel_l2: Math.sqrt(diff / norm), rel_max: worst / largest }
}

/** Runs a compiled graph once. */
export async function runGraph(graph: GraphFile, feeds: Record<string, ort.Tensor>, threads = 2): Promise<Tensors> {
  const session = await ort.InferenceSession.create(graph.path, { intraOpNumThreads: threads })
  const results = await session.run(feeds)
  const out: Tensors = {}
  for (const [name, tensor] of Object.entries(results))
    out[name] = { data: tensor.data as unknown as ArrayLike<number>, dims: tensor.dims }
  await session.release()
  return out
}

export { ort }
