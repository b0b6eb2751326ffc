/** The files that start the reference's train.py from the folder of an export: launchers, and words for people. */
import { DIT_SIZES, type DitConfig } from '../../model/lightningdit/config.js'
import { modelType } from '../plain-recipe.js'

export const CONFIG_FILE = 'train.yaml'
const OWN_LAUNCHER = 'train_vtp.py'

/** Whether train.py's table has the model. */
export const isKnownSize = (config: DitConfig): boolean =>
  Object.hasOwn(DIT_SIZES, modelType(config)) && !config.learnSigma && config.mlpRatio === 4

/** What torchrun starts. */
const program = (config: DitConfig): string => (isKnownSize(config) ? '$LIGHTNINGDIT/train.py' : OWN_LAUNCHER)

/** Files by name. `step`: what the checkpoint has done. */
export function launchFiles(config: DitConfig, about: { step: number; notes: readonly string[] }): Map<string, string> {
  return new Map([
    ['launch.sh', launchScript(config)],
    ['train.sbatch', slurmScript(config)],
    ...(isKnownSize(config) ? [] : [[OWN_LAUNCHER, ownLauncher(config)] as const]),
    ['README.md', readme(about)],
  ])
}

function launchScript(config: DitConfig): string {
  return `#!/usr/bin/env bash
# One process per GPU of this machine:
#   LIGHTNINGDIT=/path/to/LightningDiT GPUS=8 ./launch.sh
set -euo pipefail
: "\${LIGHTNINGDIT:?set it to the folder of a clone of LightningDiT}"
LIGHTNINGDIT=$(cd "$LIGHTNINGDIT" && pwd)
cd "$(dirname "\${BASH_SOURCE[0]}")"
export LIGHTNINGDIT ACCELERATE_MIXED_PRECISION="\${PRECISION:-bf16}"
exec torchrun --nproc_per_node "\${GPUS:-1}" "${program(config)}" --config ${CONFIG_FILE}
`
}

function slurmScript(config: DitConfig): string {
  return `#!/usr/bin/env bash
#SBATCH --job-name=vtp-train
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --requeue
# From this folder: LIGHTNINGDIT=/path/to/LightningDiT sbatch train.sbatch
# A job that is put back into the queue goes on from a checkpoint of its own.
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
: "\${LIGHTNINGDIT:?set it to the folder of a clone of LightningDiT}"
export LIGHTNINGDIT ACCELERATE_MIXED_PRECISION="\${PRECISION:-bf16}"
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun torchrun --nnodes "$SLURM_JOB_NUM_NODES" --nproc_per_node "\${SLURM_GPUS_ON_NODE:-1}" \\
  --rdzv_backend c10d --rdzv_endpoint "$head:29500" --rdzv_id "$SLURM_JOB_ID" \\
  "${program(config)}" --config ${CONFIG_FILE}
`
}

/** train.py's own main, after the model has a place in its table. */
function ownLauncher(config: DitConfig): string {
  const { depth, hiddenSize, patchSize, numHeads, mlpRatio, learnSigma } = config
  const options = [
    `depth=${depth}, hidden_size=${hiddenSize}, patch_size=${patchSize}, num_heads=${numHeads}`,
    ...(mlpRatio === 4 ? [] : [`mlp_ratio=${mlpRatio}`]),
    ...(learnSigma ? ['learn_sigma=True'] : []),
  ]
  return `"""train.py with a model that its table does not have."""
import os
import sys

sys.path.insert(0, os.environ["LIGHTNINGDIT"])

from accelerate import Accelerator
from models.lightningdit import LightningDiT, LightningDiT_models
from train import do_train, load_config


def build(**options):
    return LightningDiT(${options.join(', ')}, **options)


LightningDiT_models["${modelType(config)}"] = build

if __name__ == "__main__":
    accelerator = Accelerator()
    do_train(load_config(sys.argv[sys.argv.index("--config") + 1]), accelerator)
`
}

function readme({ step, notes }: { step: number; notes: readonly string[] }): string {
  return `# A training for LightningDiT's train.py

This folder was written by \`vtp train --export\`. It holds all that train.py needs to go on after step ${step}. It may be moved.

    LIGHTNINGDIT=/path/to/LightningDiT GPUS=8 ./launch.sh
    LIGHTNINGDIT=/path/to/LightningDiT sbatch train.sbatch

\`LIGHTNINGDIT\` is a clone of github.com/hustvl/LightningDiT or of the fork that VTP uses, with its requirements installed. \`PRECISION\` is bf16 unless it is set to fp16 or no. The global batch is divided by the number of processes.

Checkpoints appear in runs/vtp/checkpoints. \`vtp train --init runs/vtp/checkpoints/NNNNNNN.pt\` goes on from one, and \`vtp generate --dit\` makes images with it.

What train.py does otherwise:

${['It does not read moments of the optimiser: they begin at 0.', 'Order, noise and times are not seeded.', ...notes].map((note) => `- ${note}`).join('\n')}
`
}
