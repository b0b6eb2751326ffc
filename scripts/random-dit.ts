/**
 * Writes a tiny LightningDiT with random weights, to try `vtp generate` without a trained one: its images are noise.
 *
 *   npx tsx scripts/random-dit.ts FOLDER
 *   vtp generate --dit FOLDER/random-dit-tiny.safetensors --stats none --num 8 --steps 5 --out samples
 */
import { mkdir } from 'node:fs/promises'
import { randomDit, vtpStyle } from '../bench/support/random-dit.js'

const folder = process.argv[2]
if (folder === undefined) throw new Error('Usage: npx tsx scripts/random-dit.ts FOLDER')
await mkdir(folder, { recursive: true })
console.log(await randomDit(folder, 'tiny', vtpStyle({ hiddenSize: 96, depth: 2, numHeads: 4 })))
