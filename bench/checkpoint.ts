/**
 * Writes a checkpoint with random weights, for timings and for `vtp model check`, and prints its folder.
 *
 *   npx tsx bench/checkpoint.ts [--shape S|B|L] [--outliers] [--out DIR]
 *
 * --outliers multiplies four weights of every norm by 30: a hard case for 8 bits.
 */
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { randomCheckpoint, type ShapeName } from './support/random-checkpoint.js'

const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: 'B' },
    outliers: { type: 'boolean', default: false },
    out: { type: 'string', default: path.join(tmpdir(), 'vtp-bench-models') },
  },
})
console.log(await randomCheckpoint(values.out, values.shape as ShapeName, values.outliers))
