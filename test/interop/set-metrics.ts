/**
 * Metrics of sets of images next to the programs that define them, on the same features: KID, Inception Score,
 * precision and recall of torch-fidelity, clean-fid's KID and resize, pytorch-fid's FID, and the evaluator of
 * guided-diffusion. Prints ours and theirs; --record keeps theirs in set-metrics.json, which
 * set-metrics.test.ts compares with.
 *
 *   VTP_GUIDED_DIFFUSION=CLONE VTP_PYTHON=PYTHON npx tsx test/interop/set-metrics.ts [PHOTOGRAPHS] [--limit 50] [--record]
 *
 * VTP_PYTHON has torch-fidelity, clean-fid, pytorch-fid and scipy. Each photograph is resized twice: as it is, and
 * as its central 120 × 90 pixels.
 */
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { decodeImage } from '../../src/image/decode.js'
import { encodePng } from '../../src/image/png.js'
import { encodeNpyHeader } from '../../src/io/numpy/npy.js'
import {
  CLASSES,
  cleanResize,
  DIMS,
  FIXTURES,
  LOGIT_ROWS,
  logitsOfB,
  ourNumbers,
  ROWS,
  setA,
  setB,
  sha256,
} from './set-metrics-data.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { limit: { type: 'string', default: '50' }, record: { type: 'boolean', default: false } },
})
const { VTP_GUIDED_DIFFUSION: clone, VTP_PYTHON: python } = process.env
if (!clone || !python) throw new Error('give VTP_GUIDED_DIFFUSION and VTP_PYTHON in the environment')
const folder = mkdtempSync(path.join(tmpdir(), 'vtp-sets-'))
const photos = path.join(folder, 'photos')
mkdirSync(photos)

function writeNpy(name: string, shape: number[], { buffer, byteOffset, byteLength }: Float32Array): void {
  const bytes = Buffer.concat([encodeNpyHeader('<f4', shape), new Uint8Array(buffer, byteOffset, byteLength)])
  writeFileSync(path.join(folder, `${name}.npy`), bytes)
}

async function writeCrop(file: string, to: string): Promise<void> {
  const { data, width, height } = await decodeImage(readFileSync(file))
  const [w, h] = [Math.min(120, width), Math.min(90, height)]
  const [left, top] = [(width - w) >> 1, (height - h) >> 1]
  const crop = new Uint8Array(w * h * 3)
  for (let y = 0; y < h; y++) {
    const start = ((top + y) * width + left) * 3
    crop.set(data.subarray(start, start + w * 3), y * w * 3)
  }
  writeFileSync(to, await encodePng({ data: crop, width: w, height: h }))
}

try {
  writeNpy('a', [ROWS, DIMS], setA())
  writeNpy('b', [ROWS, DIMS], setB())
  writeNpy('logits', [LOGIT_ROWS, CLASSES], logitsOfB())
  for (const file of FIXTURES) copyFileSync(file, path.join(photos, path.basename(file)))
  if (positionals[0]) {
    const names = readdirSync(positionals[0]).filter((name) => /\.jpe?g$/i.test(name))
    for (const name of names.sort().slice(0, Number(values.limit))) {
      const file = path.resolve(positionals[0], name)
      copyFileSync(file, path.join(photos, name))
      await writeCrop(file, path.join(photos, `crop ${name}.png`))
    }
  }
  const script = fileURLToPath(new URL('./set_metrics.py', import.meta.url))
  const printed = execFileSync(python, [script, folder, clone], { maxBuffer: 2 ** 26 })
    .toString()
    .trim()
  const theirs = JSON.parse(printed.split('\n').at(-1)!)
  const readResized = (name: string): Float32Array => {
    const bytes = readFileSync(path.join(folder, 'resized', `${name}.f32`))
    return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
  }
  console.log(JSON.stringify({ ours: await ourNumbers(), ...theirs }, undefined, 2))
  let [images, pixels, different, largest] = [0, 0, 0, 0]
  for (const name of readdirSync(photos)) {
    const [x, y] = [await cleanResize(path.join(photos, name)), readResized(name)]
    images++
    pixels += x.length
    for (let i = 0; i < x.length; i++) {
      if (x[i] === y[i]) continue
      different++
      largest = Math.max(largest, Math.abs(x[i]! - y[i]!))
    }
  }
  console.log(`clean-fid's resize: ${images} images, ${different} of ${pixels} values differ, by ${largest} at most`)
  if (values.record) {
    const resized = Object.fromEntries(
      FIXTURES.map((file) => [path.basename(file), sha256(readResized(path.basename(file)))]),
    )
    const file = fileURLToPath(new URL('./set-metrics.json', import.meta.url))
    writeFileSync(file, `${JSON.stringify({ ...theirs, resized }, undefined, 2)}\n`)
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
