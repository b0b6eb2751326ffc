/** Raised whenever a change of the graph builders can change a bit of an output; part of every plan and cache key. */
export const GRAPH_VERSION = 3
