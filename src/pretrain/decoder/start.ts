/**
 * What a stage of the decoder begins from: a model in the published layout with a fresh discriminator, or a checkpoint
 * of this stage, whose `training.safetensors` holds the discriminator and the moments of both. Tensors that are not
 * trained are kept as bytes: a checkpoint has them as the model has them.
 */
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { usageError } from '../../errors.js'
import { openSafetensors, type SafetensorsFile } from '../../io/safetensors.js'
import { parseConfig, type VtpConfig } from '../../model/vtp/config.js'
import { checkTensors, expectedTensors } from '../../model/vtp/tensors.js'
import type { GanInitial } from '../gan.js'
import { freshPatchGan, type PatchGanShape } from '../patchgan.js'
import { isBuffer, type Shapes } from '../state.js'

export const DECODER = 'pixel_decoder.'
export const DISCRIMINATOR = 'discriminator.'
const MODEL = 'model.safetensors'
export const TRAINING = 'training.safetensors'

export interface DecoderStart extends GanInitial {
  /** The text of `config.json`: it is copied as it is. */
  readonly configText: string
  /** The model's file. */
  readonly model: SafetensorsFile
  close(): Promise<void>
}

export interface DecoderPlace {
  /** Of a published model, or of a checkpoint. */
  folder: string
  /** Of the discriminator, where it is fresh. */
  seed: number
  disc: PatchGanShape
  /** Whether the folder is a checkpoint of this stage that is gone on from. */
  resumed: boolean
}

/** Trained tensors: the decoder's parameters. */
export function decoderShapes(config: VtpConfig): Shapes {
  return new Map([...expectedTensors(config)].filter(([name]) => name.startsWith(DECODER) && !isBuffer(name)))
}

/** Throws VtpErrors `bad_config`, `bad_checkpoint`, `bad_safetensors`, usage error `init_incomplete`. */
export async function openDecoderStart({ folder, seed, disc, resumed }: DecoderPlace): Promise<DecoderStart> {
  const configFile = path.join(folder, 'config.json')
  const configText = await readFile(configFile, 'utf8').catch((error: unknown) => {
    throw usageError('init_incomplete', `${folder} has no config.json that can be read`, [
      'give a folder with config.json and model.safetensors',
      String((error as NodeJS.ErrnoException).code ?? error),
    ])
  })
  const config = parseConfig(configText, configFile)
  const model = await openSafetensors(path.join(folder, MODEL))
  let training: SafetensorsFile | undefined
  const close = async (): Promise<void> => void (await Promise.allSettled([model.close(), training?.close()]))
  try {
    checkTensors(config, model.tensors, folder)
    if (resumed) training = await openSafetensors(path.join(folder, TRAINING))
    const periods = `${DECODER}rope_embed.periods`
    return {
      ...{ config, configText, model, rope: 'bf16', decoder: decoderShapes(config), close },
      periods: await model.readFloat32(periods),
      async read(name) {
        if (name.startsWith(DECODER)) return model.readFloat32(name)
        return training ? training.readFloat32(`${DISCRIMINATOR}${name}`) : freshPatchGan(name, disc, seed)
      },
      moment: async (kind, name) => training?.readFloat32(momentName(kind, name)),
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** Name of a moment in `training.safetensors`, by the trainer's name of the tensor. */
export function momentName(kind: 'exp_avg' | 'exp_avg_sq', name: string): string {
  return `adam.${kind}.${name.startsWith(DECODER) ? '' : DISCRIMINATOR}${name}`
}
