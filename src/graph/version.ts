/** Raised whenever a change of the graph builders can change a bit of an output; part of every plan and cache key. */
export const GRAPH_VERSION = 3

/**
 * Names the code of a build, which bundle.mjs puts in; undefined where the program runs from its sources, which may
 * change at any moment.
 */
export function buildId(): string | undefined {
  return (globalThis as { BUILD_ID_OF_VTP?: string }).BUILD_ID_OF_VTP
}
