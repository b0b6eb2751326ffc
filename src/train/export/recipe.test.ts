import { expect, it } from 'vitest'
import { tokenizerName } from './recipe.js'

it.each([
  ['vtp-nano', 64, 'vtp'],
  ['MiniMaxAI/VTP-Large-f16d64', 64, 'vtp'],
  ['hustvl/vavae-imagenet256-f16d32-dinov2', 32, 'vavae_f16d32'],
  ['nyu-visionx/RAE', 768, 'nyu-visionx/RAE'],
  [undefined, 32, 'vavae_f16d32'],
  [undefined, 64, 'vtp'],
])(
  'latents of %s with %i channels are of the tokenizer %s in the configuration for train.py',
  (model, channels, name) => {
    expect(tokenizerName(model, channels)).toBe(name)
  },
)
