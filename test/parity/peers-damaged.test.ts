/** Checkpoints of every family that cannot be used: one clear message each, which names the file, and nothing is executed. */
import { cpSync, existsSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { VtpError } from '../../src/errors.js'
import { encodeSafetensorsHeader, openSafetensors } from '../../src/io/safetensors.js'
import { openTensorFile } from '../../src/io/tensor-file.js'
import { encodeTorchFile } from '../../src/io/torch/write.js'
import { zipStored } from '../../src/io/zip-writer.js'
import { openModel } from '../../src/model/index.js'
import { goldenPath } from '../golden.js'
import { tempDir } from '../support/cli.js'

interface Damaged {
  /** The file of weights. */
  file: string
  /** Where it keeps its tensors. */
  keys?: string[]
  /** A tensor that nobody can do without. */
  tensor: string
  /** A file of sizes with one of them changed; without one the tensor is given another shape. */
  sizes?: { file: string; from: RegExp; to: string }
}

const CASES: Record<string, Damaged> = {
  clip_hf_gelu: {
    file: 'model.safetensors',
    tensor: 'vision_model.encoder.layers.1.mlp.fc1.weight',
    sizes: { file: 'config.json', from: /"intermediate_size": 192/, to: '"intermediate_size": 200' },
  },
  openclip_gelu: {
    file: 'open_clip_model.safetensors',
    tensor: 'visual.ln_post.bias',
    sizes: { file: 'open_clip_config.json', from: /"vocab_size": 300/, to: '"vocab_size": 301' },
  },
  openclip_quickgelu_fp16_bin: {
    file: 'open_clip_pytorch_model.bin',
    keys: ['state_dict'],
    tensor: 'visual.proj',
    sizes: { file: 'open_clip_config.json', from: /"context_length": 16/, to: '"context_length": 17' },
  },
  siglip_hf: {
    file: 'model.safetensors',
    tensor: 'vision_model.head.probe',
    sizes: { file: 'config.json', from: /"num_hidden_layers": 3/, to: '"num_hidden_layers": 4' },
  },
  siglip_openclip_gelu: {
    file: 'open_clip_model.safetensors',
    tensor: 'visual.trunk.attn_pool.latent',
    sizes: { file: 'open_clip_config.json', from: /"depth": 2/, to: '"depth": 3' },
  },
  dinov2_hf: {
    file: 'model.safetensors',
    tensor: 'layernorm.weight',
    sizes: { file: 'config.json', from: /"image_size": 84/, to: '"image_size": 98' },
  },
  dinov2_hub: { file: 'dinov2_vits14_pretrain.pth', tensor: 'blocks.1.ls2.gamma' },
  mae_pretrain: { file: 'mae_pretrain_vit_large.pth', keys: ['model'], tensor: 'blocks.1.mlp.fc2.bias' },
  mae_finetuned: { file: 'mae_finetuned_vit_large.pth', keys: ['model'], tensor: 'fc_norm.weight' },
  mae_hf: {
    file: 'model.safetensors',
    tensor: 'vit.layernorm.weight',
    sizes: { file: 'config.json', from: /"patch_size": 16/, to: '"patch_size": 8' },
  },
  vavae: {
    file: 'vavae-imagenet256-f16d32-dinov2.pt',
    keys: ['state_dict'],
    tensor: 'encoder.mid.block_1.norm1.weight',
    sizes: { file: 'vavae_f16d32.yaml', from: /embed_dim: 8/, to: 'embed_dim: 16' },
  },
  rae_dinov2: {
    file: 'model.pt',
    tensor: 'decoder_pred.bias',
    sizes: { file: 'decoder/config.json', from: /"decoder_hidden_size": 40/, to: '"decoder_hidden_size": 48' },
  },
  unitok_attn: { file: 'unitok_tokenizer.pth', keys: ['trainer.unitok'], tensor: 'quant_proj.norm2.weight' },
  vilau: {
    file: 'model.safetensors',
    tensor: 'rqvaesiglip.post_quant_conv.bias',
    sizes: { file: 'config.json', from: /"n_embed": 64/, to: '"n_embed": 65' },
  },
}

describe.each(Object.entries(CASES))('%s', (name, { file, keys, tensor, sizes }) => {
  /** What opening a copy says after something was done to it. */
  async function refusal(spoil: (folder: string) => void | Promise<void>): Promise<VtpError> {
    const folder = path.join(tempDir(), name)
    cpSync(goldenPath('peers', name), folder, { recursive: true })
    await spoil(folder)
    const error: unknown = await openModel(folder, { cacheDir: path.join(folder, 'cache') }).then(
      (model) => model.close(),
      (failure: unknown) => failure,
    )
    expect(existsSync(path.join(folder, 'EXECUTED'))).toBe(false)
    expect(error).toBeInstanceOf(VtpError)
    expect((error as VtpError).message).toContain(folder)
    return error as VtpError
  }
  const isTorch = !file.endsWith('.safetensors')

  it('cut off', async () => {
    const { code, message } = await refusal((folder) =>
      truncateSync(path.join(folder, file), Math.floor(statSync(path.join(folder, file)).size * 0.6)),
    )
    expect(code).toMatch(/^bad_(safetensors|torch_file|zip)$/)
    expect(message).toContain(file)
  })

  it('without a tensor', async () => {
    const error = await refusal((folder) => rewrite(path.join(folder, file), keys, tensor))
    expect(error.message).toContain(tensor.replace(/^rqvaesiglip\./, ''))
    expect(error.exitCode).toBe(2)
  })

  it('with sizes that disagree', async () => {
    const error = await refusal(async (folder) => {
      if (!sizes) return rewrite(path.join(folder, file), keys, tensor, 'longer')
      const at = path.join(folder, sizes.file)
      const text = readFileSync(at, 'utf8')
      expect(text).toMatch(sizes.from)
      writeFileSync(at, text.replace(sizes.from, sizes.to))
    })
    expect(error.message).toMatch(/expected \[|missing \(|channels|does not fit/)
    expect(error.exitCode).toBe(2)
  })

  it('with the weights of another family', async () => {
    const other = isTorch
      ? goldenPath(
          'peers',
          ...(name === 'vavae' ? ['dinov2_hub', 'dinov2_vits14_pretrain.pth'] : ['vavae', CASES.vavae!.file]),
        )
      : goldenPath('peers', name === 'mae_hf' ? 'dinov2_hf' : 'mae_hf', 'model.safetensors')
    const error = await refusal((folder) => cpSync(other, path.join(folder, file)))
    expect(error.message).toMatch(
      /missing \(\d+\)|not a checkpoint|has no tensor|describes another|has no config\.json/,
    )
    expect(error.exitCode).toBe(2)
  })

  if (isTorch)
    it('with code in its pickle', async () => {
      const error = await refusal((folder) => {
        const command = Buffer.from(`touch "${path.join(folder, 'EXECUTED')}"`)
        const call = [
          Buffer.from('\x80\x02cposix\nsystem\n', 'latin1'),
          textOpcode(command),
          Buffer.from('\x85R.', 'latin1'),
        ]
        writeFileSync(path.join(folder, file), zipStored([['archive/data.pkl', Buffer.concat(call)]]))
      })
      expect(error.code).toBe('unsafe_pickle')
    })
})

/** The pickle of a text. */
function textOpcode(text: Buffer): Buffer {
  const head = Buffer.from('X\0\0\0\0', 'latin1')
  head.writeUInt32LE(text.length, 1)
  return Buffer.concat([head, text])
}

/** Writes a file of tensors again without one of them, or with a longer one. */
async function rewrite(file: string, keys: string[] | undefined, changed: string, how?: 'longer'): Promise<void> {
  if (file.endsWith('.safetensors')) {
    const stored = await openSafetensors(file)
    const kept = [...stored.tensors.values()].filter(({ name }) => name !== changed)
    expect(kept.length).toBe(stored.tensors.size - 1)
    const bytes = await Promise.all(kept.map(({ name }) => stored.readBytes(name)))
    await stored.close()
    writeFileSync(file, Buffer.concat([encodeSafetensorsHeader(kept).bytes, ...bytes]))
    return
  }
  const stored = await openTensorFile(file, keys)
  const tensors = []
  for (const [name, shape] of stored.shapes) {
    if (!/float/.test(stored.dtypes.get(name)!)) continue
    const data = await stored.readFloat32(name)
    if (name !== changed) tensors.push({ name, shape: [...shape], data })
    else if (how === 'longer') tensors.push({ name, shape: [data.length + 1], data: new Float32Array(data.length + 1) })
  }
  expect(stored.shapes.has(changed)).toBe(true)
  await stored.close()
  writeFileSync(file, encodeTorchFile('archive', tensors))
}
