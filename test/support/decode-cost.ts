/** Decodes and resizes one image file in a process of its own; prints what came of it and the memory it took. */
import { readFileSync } from 'node:fs'
import { DEFAULT_LIMITS, decodeImage } from '../../src/image/decode.js'
import { applyTransform, parseTransform } from '../../src/image/transform.js'
import type { RejectError } from '../../src/types.js'

const bytes = readFileSync(process.argv[2]!)
let result = 'row'
try {
  const image = await decodeImage(bytes, DEFAULT_LIMITS, 'here')
  applyTransform(image, parseTransform('resize(256,256,bilinear)'))
} catch (error) {
  const { code, stage } = error as RejectError
  result = `${code} at ${stage}`
}
console.log(JSON.stringify({ result, peakMiB: process.resourceUsage().maxRSS >> 10 }))
