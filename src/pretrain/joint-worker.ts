/** The thread that pre-trains: it owns the state and the session, computes steps and writes checkpoints. */
import { serveThread, threadData } from '../async/serve-thread.js'
import { writeCheckpoint } from './checkpoint.js'
import { type JointTrainer, openJointTrainer } from './joint.js'
import type { JointReply, JointRequest, JointThreadData } from './joint-thread.js'
import { readPerceptual } from './perceptual.js'
import { openStart, type PretrainStart } from './start.js'

let start: PretrainStart
let trainer: JointTrainer

serveThread<JointRequest, JointReply>({
  async start() {
    const { recipe, start: place, shapes, threads, ...network } = threadData<JointThreadData>()
    start = await openStart(recipe, place)
    const done = 'resumed' in place ? place.resumed?.done : undefined
    const perceptual = await readPerceptual(recipe, network)
    trainer = await openJointTrainer(start, recipe, { threads, batch: shapes, perceptual, done })
  },
  async handle(request) {
    if (request.type === 'step') return { reply: await trainer.step(request.batch, request.iteration) }
    const { folder, exported, note } = request
    await writeCheckpoint(folder, start, trainer.state, { exported, note })
    return { reply: undefined }
  },
  async close() {
    await trainer.close()
    await start.close()
  },
})
