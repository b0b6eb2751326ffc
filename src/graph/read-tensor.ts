/** Reads a tensor of a checkpoint by its name, widened to float32, in C order. */
export type ReadTensor = (name: string) => Promise<Float32Array>
