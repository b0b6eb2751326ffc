/**
 * Checkpoints of the decoder's stage, as those of joint pre-training: the published layout, and the rest of the state
 * beside it. Of the model's tensors only the decoder's parameters are new; all others keep their bytes and types.
 */

import path from 'node:path'
import { type FloatTensor, type RawTensor, writeSafetensors } from '../../io/write-safetensors.js'
import { writeCheckpointFolder } from '../checkpoint.js'
import type { GanState } from '../gan.js'
import { type DecoderStart, DISCRIMINATOR, momentName, TRAINING } from './start.js'

/** Writes a checkpoint, in place of what has its name. Throws VtpErrors for a full disk, with what was there intact. */
export function writeDecoderCheckpoint(
  folder: string,
  start: DecoderStart,
  state: GanState,
  note: object,
): Promise<void> {
  return writeCheckpointFolder(folder, { configText: start.configText, note }, async (made) => {
    await writeSafetensors(path.join(made, TRAINING), trainingTensors(state))
    await writeSafetensors(path.join(made, 'model.safetensors'), modelTensors(start, state), {
      format: 'pt',
      ...start.model.metadata,
    })
  })
}

function modelTensors({ model }: DecoderStart, { decoder }: GanState): (FloatTensor | RawTensor)[] {
  const trained = new Map(decoder.map((tensor) => [tensor.name, tensor]))
  return [...model.tensors.values()].map(({ name, shape, dtype }) => {
    const tensor = trained.get(name)
    return tensor
      ? { name, shape, values: tensor.parameter }
      : { name, shape, dtype, bytes: () => model.readBytes(name) }
  })
}

function trainingTensors({ decoder, discriminator, statistics }: GanState): FloatTensor[] {
  const moments = [...decoder, ...discriminator].flatMap(({ name, shape, expAvg, expAvgSq }) => [
    { name: momentName('exp_avg', name), shape, values: expAvg },
    { name: momentName('exp_avg_sq', name), shape, values: expAvgSq },
  ])
  const own = discriminator.map(({ name, shape, parameter }) => ({
    name: `${DISCRIMINATOR}${name}`,
    shape,
    values: parameter,
  }))
  const running = [...statistics].map(([name, values]) => ({
    name: `${DISCRIMINATOR}${name}`,
    shape: [values.length],
    values,
  }))
  return [...own, ...running, ...moments]
}
