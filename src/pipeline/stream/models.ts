/** The models that a plan's outputs need, opened together and closed together. */
import type { Session } from '../../engine/session.js'
import { openSessions } from '../../engine/session-pool.js'
import { openTextEncoder, type TextEncoder } from '../../engine/text-encoder.js'
import { compileEncoder, type EncoderOutput, type Precision } from '../../model/index.js'
import type { EncodeRequest } from '../encode-request.js'
import type { PreparedPlan } from '../ledger/prepare-plan.js'

/** What computes a plan's outputs. */
export interface Models {
  /** Undefined when only pixels or texts are wanted. */
  session: Session | undefined
  /** Undefined when the plan has no texts. */
  texts: TextEncoder | undefined
}

/** Opens what the plan's outputs need: all of it, or nothing when one of them fails. */
export async function openModels(prepared: PreparedPlan, request: EncodeRequest): Promise<Models> {
  const session = await openEncoder(prepared, request)
  try {
    return { session, texts: await openTexts(prepared, request) }
  } catch (error) {
    await session?.close()
    throw error
  }
}

/** Never throws. */
export async function closeModels({ session, texts }: Models): Promise<void> {
  await Promise.allSettled([session?.close(), texts?.close()])
}

async function openEncoder(prepared: PreparedPlan, request: EncodeRequest): Promise<Session | undefined> {
  const { plan, model, transform } = prepared
  const outputs = plan.outputs.filter((name): name is EncoderOutput => name !== 'pixels' && name !== 'text')
  if (outputs.length === 0) return undefined
  const column = plan.columns.find((c) => c.dtype !== 'uint8')!
  const { height, width } = transform
  const graph = await compileEncoder(
    model,
    {
      height,
      width,
      outputs,
      layers: plan.layers,
      layersNorm: plan.layersNorm,
      dtype: column.dtype as 'float16' | 'float32',
      precision: plan.precision as Precision,
      device: plan.device,
    },
    { cacheDir: request.cacheDir },
  )
  return openSessions({
    graph,
    lanes: request.lanes ?? [request.providers],
    threads: request.threads.encode,
    batchSize: request.batchSize,
    onNote: request.onNote,
  })
}

async function openTexts(prepared: PreparedPlan, request: EncodeRequest): Promise<TextEncoder | undefined> {
  if (!prepared.plan.outputs.includes('text')) return undefined
  const { providers, threads, cacheDir } = request
  const precision = prepared.plan.precision as Precision
  return openTextEncoder(prepared.model, { providers, threads: threads.encode, precision, cacheDir, many: true })
}
