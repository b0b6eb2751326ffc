/**
 * sharp for decoding, loaded when an image first needs it: most JPEGs never do, and loading it takes as long as
 * decoding twenty of them.
 */
import type { SharpConstructor } from 'sharp'

let loading: Promise<SharpConstructor> | undefined

async function load(): Promise<SharpConstructor> {
  const { default: sharp } = await import('sharp')
  // Every image is decoded once: a cache of operations would only hold memory. One thread per image: there
  // are as many images at once as there are cores.
  sharp.cache(false)
  sharp.concurrency(1)
  return sharp
}

/** The library, set up for decoding. Throws what loading it throws. */
export function loadSharp(): Promise<SharpConstructor> {
  loading ??= load()
  return loading
}
