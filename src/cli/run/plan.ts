/** `vtp plan`: lists the source and stores the plan, so that workers start encoding at once. */
import { planRequest } from '../../api/encode.js'
import { chooseDevice, KNOWN_PRECISIONS } from '../../engine/choose-device.js'
import type { Device } from '../../engine/device.js'
import { listingFacts } from '../../pipeline/ledger/plan.js'
import { preparePlan } from '../../pipeline/ledger/prepare-plan.js'
import type { PassedOver, SourceNote } from '../../types.js'
import type { CommandContext } from '../base-command.js'
import { formatDuration, plural } from '../terminal/format.js'
import { onStopSignals } from '../terminal/signals.js'
import { classesText, FLIP_NOTE, listingNotes, type PlanFlags, planOptions } from './encode.js'

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
function plannedDevice(flags: PlanFlags): Pick<Device, 'kind' | 'precision'> {
  const kind = (['cuda', 'webgpu'] as const).find((name) => flags.device.startsWith(name))
  if (kind) {
    const known = KNOWN_PRECISIONS[kind]
    const precision = flags.precision === 'auto' ? known[0] : known.find((name) => name === flags.precision)
    if (precision) return { kind, precision }
  }
  return chooseDevice({ device: flags.device, precision: flags.precision, requireGpu: false, autoWebGpu: true })
}

const NOTE_EVERY_MS = 10_000

export async function runPlanCommand(context: CommandContext, flags: PlanFlags): Promise<PlanJson> {
  const began = performance.now()
  const progress = context.terminal
  const stop = onStopSignals(progress.note)
  let notedAt = began
  try {
    const prepared = await preparePlan({
      ...planRequest(planOptions(flags), plannedDevice(flags)),
      signal: stop.signal,
      onNote: progress.note,
      onListing: (images) => {
        const now = performance.now()
        if (now - notedAt < NOTE_EVERY_MS) return
        notedAt = now
        progress.note(`${plural(images, 'image')} listed`)
      },
    })
    const { plan, resumed } = prepared
    await prepared.close()
    const seconds = Number(((performance.now() - began) / 1000).toFixed(3))
    const units = plural(plan.units.length, 'unit')
    for (const line of listingNotes(plan)) progress.note(line)
    if (flags.flip === undefined && plan.flip) progress.note(FLIP_NOTE)
    progress.finish([
      `${resumed ? 'The plan is there already' : 'Planned'}: ${plural(plan.source.images, 'image')}${classesText(plan)} in ${units} (0 to ${plan.units.length - 1}) · ${formatDuration(seconds)}`,
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
