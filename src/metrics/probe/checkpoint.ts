/** A probe in training, on disk: what is done, then the weights and momenta of every group (float32). */
import { open, readFile } from 'node:fs/promises'
import { VtpError } from '../../errors.js'
import { writeAtomically } from '../../model/cache.js'
import type { TrainerState } from './trainer.js'

export interface ProbeHistory {
  /** Accuracies in percent after each epoch, by head. */
  accuracies: Record<string, number>[]
  /** Mean over an epoch's steps of the loss, summed over heads. */
  losses: number[]
}

export interface ProbeProgress extends ProbeHistory {
  identity: string
  /** The next step to do. */
  epoch: number
  step: number
  /** Losses of the epoch so far, summed. */
  lossSum: number
}

const parts = (state: TrainerState): Float32Array[] => [
  state.weight,
  state.weightMomentum,
  state.bias,
  state.biasMomentum,
]

export async function writeProbe(file: string, progress: ProbeProgress, states: TrainerState[]): Promise<void> {
  const sizes = states.map((state) => parts(state).map((part) => part.length))
  await writeAtomically(file, async (tmp) => {
    const handle = await open(tmp, 'w')
    try {
      await handle.appendFile(`${JSON.stringify({ ...progress, sizes })}\n`)
      for (const state of states)
        for (const part of parts(state))
          await handle.appendFile(new Uint8Array(part.buffer, part.byteOffset, part.byteLength))
      await handle.sync()
    } finally {
      await handle.close()
    }
  })
}

/** Undefined when there is none. Throws VtpError `probe_damaged`. */
export async function readProbe(
  file: string,
): Promise<{ progress: ProbeProgress; states: TrainerState[] } | undefined> {
  const bytes = await readFile(file).catch(() => undefined)
  if (!bytes) return undefined
  try {
    const end = bytes.indexOf(10)
    const { sizes, ...progress } = JSON.parse(bytes.toString('utf8', 0, end)) as ProbeProgress & { sizes: number[][] }
    let at = end + 1
    const states = sizes.map((lengths): TrainerState => {
      const [weight, weightMomentum, bias, biasMomentum] = lengths.map((length) => {
        const part = Uint8Array.from(bytes.subarray(at, at + length * 4))
        at += length * 4
        return new Float32Array(part.buffer)
      })
      return { weight: weight!, weightMomentum: weightMomentum!, bias: bias!, biasMomentum: biasMomentum! }
    })
    if (at !== bytes.length) throw new Error('its size is wrong')
    return { progress, states }
  } catch (error) {
    throw new VtpError(`${file} is damaged: ${(error as Error).message}`, {
      code: 'probe_damaged',
      suggestions: ['delete it to start anew'],
      cause: error,
    })
  }
}
