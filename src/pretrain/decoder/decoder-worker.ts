/** The thread that trains a decoder: it owns the state and the session, computes steps and writes checkpoints. */
import { serveThread, threadData } from '../../async/serve-thread.js'
import { type GanTrainer, openGanTrainer } from '../gan.js'
import { readLpips } from '../perceptual.js'
import { writeDecoderCheckpoint } from './checkpoint.js'
import { ganSettings } from './recipe.js'
import { type DecoderStart, openDecoderStart } from './start.js'
import type { DecoderThreadData, DecoderThreadReply, DecoderThreadRequest } from './thread.js'

let start: DecoderStart
let trainer: GanTrainer

serveThread<DecoderThreadRequest, DecoderThreadReply>({
  async start() {
    const { recipe, place, latents, threads, ...network } = threadData<DecoderThreadData>()
    start = await openDecoderStart({ ...place, disc: recipe.config.disc })
    const perceptual = recipe.hyper_parameters.w_lpips > 0 ? await readLpips(network) : undefined
    trainer = await openGanTrainer(start, ganSettings(recipe), { latents, threads, perceptual })
  },
  async handle(request) {
    if (request.type === 'write') {
      await writeDecoderCheckpoint(request.folder, start, trainer.state, request.note)
      return { reply: undefined }
    }
    const { log, seconds } = await trainer.step(request.batch, request.step)
    return { reply: { log, seconds } }
  },
  async close() {
    await trainer.close()
    await start.close()
  },
})
