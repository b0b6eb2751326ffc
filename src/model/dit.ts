/**
 * LightningDiT for the rest of the program: a checkpoint, its compiled graph, and what there is to know of one.
 * Training (src/train) builds a graph of its own from the parts of the folder.
 */
export { type DitCheckpoint, openDit } from './lightningdit/checkpoint.js'
export { DIT_SIZES, type DitConfig, ditFlops, ditName } from './lightningdit/config.js'
export { compileDit } from './lightningdit/model.js'
export { ditParameters } from './lightningdit/tensors.js'
