/** `vtp pretrain` between its flags and the steps. */
import { effectiveCores } from '../../engine/cores.js'
import { defaultCacheDir } from '../../model/index.js'
import type { Export } from '../../pretrain/checkpoint.js'
import { type ReplayResult, replayPretraining } from '../../pretrain/run.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { PRETRAIN_FLAGS } from '../flags/pretrain-flags.js'
import { plural } from '../terminal/format.js'

export async function runPretrain(
  { terminal }: CommandContext,
  flags: FlagValues<typeof PRETRAIN_FLAGS>,
): Promise<ReplayResult> {
  const result = await replayPretraining({
    replay: flags.replay,
    init: flags.init,
    recipe: flags.recipe,
    steps: flags.steps,
    out: flags.out,
    exported: flags.export as Export,
    threads: flags.threads ?? effectiveCores(),
    weights: flags.weights,
    cacheDir: defaultCacheDir(),
    onStep: (log) =>
      terminal.note(`step ${log.iteration}: total ${log.total.toFixed(4)}, gradient norm ${log.grad_norm.toFixed(3)}`),
  })
  terminal.print([`${plural(result.steps, 'step')}: ${result.checkpoint}`])
  return result
}
