/** `latents_stats.pt`: what `torch.save({'mean': …, 'std': …})` leaves, as the reference's loader expects it. */
import { encodeTorchFile } from './torch/write.js'

/** Tensors [1, C, 1, 1] float32 of means and standard deviations → the bytes of a .pt file, always the same ones. */
export function encodeLatentsStats(mean: Float32Array, std: Float32Array): Uint8Array {
  const shape = [1, mean.length, 1, 1]
  return encodeTorchFile('latents_stats', [
    { name: 'mean', shape, data: mean },
    { name: 'std', shape, data: std },
  ])
}
