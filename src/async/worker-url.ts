/**
 * Where a worker thread's file is. Worker threads load JavaScript, so when this code runs from
 * TypeScript sources (tests, benchmarks, scripts) the built file of the same name in dist/ is used.
 */
export function workerUrl(moduleUrl: string, relative: string): URL {
  const url = new URL(relative, moduleUrl)
  if (moduleUrl.endsWith('.ts')) url.pathname = url.pathname.replace(/\/src\/(?!.*\/src\/)/, '/dist/')
  return url
}

/**
 * Heap limits of worker threads. Their data are buffers outside the heap; a small young generation makes
 * collections frequent and cheap, so that memory is level from the first thousand images on.
 */
export const SMALL_HEAP = { maxYoungGenerationSizeMb: 8 } as const
