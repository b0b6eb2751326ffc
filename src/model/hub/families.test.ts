/** What is downloaded of each family's repository: the files that it needs, none of the others that lie beside them. */
import { readdirSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { tempDir } from '../../../test/support/cli.js'
import { COMMIT_A, type HubFile, type HubServer, startHub } from '../../../test/support/hub-server.js'
import type { VtpError } from '../../errors.js'
import { encodeTorchFile } from '../../io/torch/write.js'
import { resolveHubModel } from './index.js'

const config = (type: string): string => JSON.stringify({ model_type: type })
const openClip = (tower?: string): string => JSON.stringify({ model_cfg: { vision_cfg: { timm_model_name: tower } } })
/** What repositories hold for other programs. */
const OTHERS = ['README.md', '.gitattributes', 'tf_model.h5', 'flax_model.msgpack', 'special_tokens_map.json']

/** [repository, its texts, its other files, those that are needed besides the texts]. */
const REPOSITORIES: [name: string, texts: Record<string, string>, more: string[], needed: string[]][] = [
  [
    'openai/clip-vit-large-patch14',
    { 'config.json': config('clip'), 'preprocessor_config.json': '{}' },
    ['model.safetensors', 'pytorch_model.bin', 'vocab.json', 'merges.txt', 'tokenizer.json'],
    ['model.safetensors'],
  ],
  [
    'laion/CLIP-ViT-L-14-laion2B-s32B-b82K',
    { 'open_clip_config.json': openClip(), 'config.json': config('clip') },
    ['open_clip_model.safetensors', 'open_clip_pytorch_model.bin', 'model.safetensors', 'tokenizer.json'],
    ['open_clip_model.safetensors'],
  ],
  [
    'google/siglip-large-patch16-256',
    { 'config.json': config('siglip'), 'preprocessor_config.json': '{}' },
    ['model.safetensors', 'spiece.model', 'tokenizer.json', 'tokenizer_config.json'],
    ['model.safetensors', 'spiece.model'],
  ],
  [
    'google/siglip2-base-patch16-256',
    { 'config.json': config('siglip'), 'tokenizer_config.json': '{}' },
    ['model.safetensors', 'tokenizer.json', 'tokenizer.model'],
    ['model.safetensors', 'tokenizer.json'],
  ],
  [
    'timm/ViT-L-16-SigLIP-256',
    { 'open_clip_config.json': openClip('vit_large_patch16_siglip_256'), 'tokenizer_config.json': '{}' },
    ['open_clip_model.safetensors', 'open_clip_pytorch_model.bin', 'tokenizer.json'],
    ['open_clip_model.safetensors', 'tokenizer.json'],
  ],
  [
    'facebook/dinov2-with-registers-large',
    { 'config.json': config('dinov2_with_registers') },
    ['model.safetensors', 'preprocessor_config.json'],
    ['model.safetensors'],
  ],
  ['facebook/vit-mae-large', { 'config.json': config('vit_mae') }, ['pytorch_model.bin'], ['pytorch_model.bin']],
  [
    'hustvl/vavae-imagenet256-f16d32-dinov2',
    {},
    ['vavae-imagenet256-f16d32-dinov2.pt', 'latents_stats.pt'],
    ['vavae-imagenet256-f16d32-dinov2.pt'],
  ],
  ['FoundationVision/unitok_tokenizer', {}, ['unitok_tokenizer.pth'], ['unitok_tokenizer.pth']],
  [
    'mit-han-lab/vila-u-7b-256',
    { 'vision_tower/config.json': config('rqvaesigliptransformer_model') },
    ['vision_tower/model.safetensors', 'llm/model-00001-of-00003.safetensors', 'mm_projector/model.safetensors'],
    ['vision_tower/model.safetensors'],
  ],
]

/** A checkpoint in which VA-VAE finds itself, or anything. */
function bytesOf(file: string): Buffer {
  if (!file.endsWith('.ckpt')) return Buffer.from(`bytes of ${file}`)
  const names = ['quant_conv.weight', 'decoder.mid.block_1.conv1.weight', file]
  return encodeTorchFile(
    'archive',
    names.map((name) => ({ name, shape: [1], data: new Float32Array(1) })),
  )
}

function serve(name: string, texts: Record<string, string>, more: string[]): Promise<HubServer> {
  const files: Record<string, HubFile> = {}
  for (const [file, text] of Object.entries(texts)) files[file] = { bytes: Buffer.from(text) }
  for (const file of [...more, ...OTHERS]) files[file] = { bytes: bytesOf(file), lfs: true }
  return startHub({ name, files, revisions: { main: COMMIT_A } })
}

const options = ({ endpoint }: HubServer) => ({ endpoint, cacheDir: tempDir(), env: { HF_HOME: tempDir() } })
const filesIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => `${entry.parentPath}/${entry.name}`.slice(folder.length + 1))
    .sort()

describe('a download', () => {
  it.each(REPOSITORIES)('of %s', async (name, texts, more, needed) => {
    const folder = await resolveHubModel(name, options(await serve(name, texts, more)))
    // Texts are read to know the family; they stay in the cache.
    expect(filesIn(folder)).toEqual([...Object.keys(texts), ...needed].sort())
  })
})

describe('a repository of several checkpoints', () => {
  const name = 'hustvl/va-vae-imagenet256-experimental-variants'
  const files = ['vavae-imagenet256-f16d32-50ep.ckpt', 'vavae-imagenet256-f16d64-dinov2-50ep.ckpt']

  it('is refused with their names: one is given as hf://ORG/NAME/FILE', async () => {
    const given = options(await serve(name, {}, files))
    const error = await resolveHubModel(name, given).catch((failure: VtpError) => failure)
    expect(error).toMatchObject({ code: 'several_checkpoints', exitCode: 2 })
    expect((error as VtpError).message).toContain(files.join(', '))
    const folder = await resolveHubModel(`hf://${name}/${files[1]}`, given)
    expect(filesIn(folder)).toEqual([files[1]])
    expect(
      await resolveHubModel(`hf://${name}@${COMMIT_A}/${files[1]}`, { ...given, endpoint: 'http://127.0.0.1:9' }),
    ).toBe(folder)
  })

  it('says what there is where the file is not', async () => {
    const given = options(await serve(name, {}, files))
    await expect(resolveHubModel(`hf://${name}/vavae-f8.pt`, given)).rejects.toThrow(/has no file vavae-f8\.pt/)
    await expect(resolveHubModel(`hf://${name}/../x.pt`, given)).rejects.toThrow(/not a hub id/)
  })
})
