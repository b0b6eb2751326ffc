import { packageFile } from '../package.js'

/**
 * The built file of a worker, by its path below `src/` without the extension; its name ends with `-worker`, by which
 * the build finds it. Workers are JavaScript also where the program runs from its TypeScript sources.
 */
export function workerUrl(name: `${string}-worker`): URL {
  return packageFile(`dist/${name}.js`)
}

/**
 * Heap limits of worker threads. Their data are buffers outside the heap; a small young generation makes
 * collections frequent and cheap, so that memory is level from the first thousand images on.
 */
export const SMALL_HEAP = { maxYoungGenerationSizeMb: 8 } as const
