/** `vtp plan`: lists the source and stores the plan, so that workers start encoding at once. */
import { chooseDevice, KNOWN_PRECISIONS } from '../../engine/choose-device.js'
import { listingFacts } from '../../pipeline/ledger/plan.js'
import { preparePlan } from '../../pipeline/ledger/prepare-plan.js'
import type { PassedOver, SourceNote } from '../../types.js'
import type { CommandContext } from '../base-command.js'
import { formatCount, formatDuration } from '../terminal/format.js'
import { onStopSignals } from '../terminal/signals.js'
import { classesText, listingNotes, type PlanFlags, planRequest } from './encode.js'

/** The stable object of `--json`. */
export interface PlanJson {
  images: number
  units: number
  plan: string
  out: string
  /** Whether DEST held this plan already. */
  resumed: boolean
  seconds: number
  /** Classes of the labels, where they have names. */
  classes: number | null
  passedOver: PassedOver
  notes: SourceNote[]
}

/** A plan may be made on a machine without the workers' GPU: the device is then taken at its word. */
function plannedDevice(flags: PlanFlags): { kind: string; precision: string } {
  const kind = (['cuda', 'webgpu'] as const).find((name) => flags.device.startsWith(name))
  if (kind) {
    const known: string[] = KNOWN_PRECISIONS[kind]
    const precision = flags.precision === 'auto' ? known[0]! : flags.precision
    if (known.includes(precision)) return { kind, precision }
  }
  return chooseDevice({ device: flags.device, precision: flags.precision, requireGpu: false })
}

const NOTE_EVERY_MS = 10_000

export async function runPlanCommand(context: CommandContext, flags: PlanFlags): Promise<PlanJson> {
  const began = performance.now()
  const progress = context.terminal
  const stop = onStopSignals(progress.note)
  let notedAt = began
  try {
    const prepared = await preparePlan({
      ...planRequest(flags, plannedDevice(flags)),
      signal: stop.signal,
      onNote: progress.note,
      onListing: (images) => {
        const now = performance.now()
        if (now - notedAt < NOTE_EVERY_MS) return
        notedAt = now
        progress.note(`${formatCount(images)} images listed`)
      },
    })
    const { plan, resumed } = prepared
    await prepared.close()
    const seconds = Number(((performance.now() - began) / 1000).toFixed(3))
    const units = `${formatCount(plan.units.length)} unit${plan.units.length === 1 ? '' : 's'}`
    for (const line of listingNotes(plan)) progress.note(line)
    progress.finish([
      `${resumed ? 'The plan is there already' : 'Planned'}: ${formatCount(plan.source.images)} images${classesText(plan)} in ${units} (0 to ${plan.units.length - 1}) · ${formatDuration(seconds)}`,
      'Now start `vtp encode` with the same flags, on as many machines as you like.',
    ])
    return {
      images: plan.source.images,
      units: plan.units.length,
      plan: plan.hash,
      out: flags.out,
      resumed,
      seconds,
      ...listingFacts(plan),
    }
  } finally {
    stop.release()
    progress.close()
  }
}
