/**
 * What the decoders of a run make of image files against what Pillow makes of them: refused, identical, or how many
 * levels apart. Takes a folder of images, or damages images itself.
 *
 *   VTP_PYTHON=/path/to/python npx tsx scripts/compare-pillow.ts [FOLDER] [--count 3000] [--seed 1]
 *
 * VTP_PYTHON is a Python with Pillow 12.3 (`Image.open(f).convert('RGB')`).
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { DEFAULT_LIMITS, decodeImage } from '../src/image/decode.js'
import type { RejectError } from '../src/types.js'
import { writeMutants } from '../test/support/mutants.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { count: { type: 'string', default: '3000' }, seed: { type: 'string', default: '1' } },
})
const scratch = mkdtempSync(path.join(tmpdir(), 'vtp-pillow-'))
const folder = positionals[0] ?? path.join(scratch, 'in')
if (!positionals[0]) await writeMutants(folder, Number(values.count), Number(values.seed))
const files = readdirSync(folder, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => path.join(entry.parentPath, entry.name))
  .sort()

/** Writes Pillow's pixels of every file one after the other; prints their sizes. */
const PYTHON = `
import json, sys, warnings
from PIL import Image
warnings.simplefilter('ignore')
sizes = []
with open(sys.argv[1], 'wb') as out:
    for path in json.load(sys.stdin):
        try:
            image = Image.open(path)
            if image.format not in ('JPEG', 'MPO', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'PPM'): raise ValueError(image.format)
            image = image.convert('RGB')
            sizes.append(image.size)
            out.write(image.tobytes())
        except Exception as error:
            sizes.append(None)
json.dump(sizes, sys.stdout)
`
const pixelFile = path.join(scratch, 'pixels')
const python = spawnSync(process.env.VTP_PYTHON ?? 'python3', ['-c', PYTHON, pixelFile], {
  input: JSON.stringify(files),
  encoding: 'utf8',
  maxBuffer: 2 ** 28,
})
if (python.status !== 0) throw new Error(python.stderr)
const sizes = JSON.parse(python.stdout) as ([number, number] | null)[]
const pixels = readFileSync(pixelFile)

const counts = new Map<string, number>()
let offset = 0
for (const [i, file] of files.entries()) {
  const size = sizes[i]!
  const theirs = size && pixels.subarray(offset, offset + size[0] * size[1] * 3)
  offset += theirs?.length ?? 0
  let code = ''
  const ours = await decodeImage(readFileSync(file), DEFAULT_LIMITS, 'here').catch((error: RejectError) => {
    code = error.code
    if (theirs) console.log(`${path.relative(folder, file)}: ${error.message}`)
    return undefined
  })
  const format = path.extname(file).slice(1).toLowerCase()
  let what: string
  if (!ours || !theirs)
    what = ours ? 'read by us only' : theirs ? `read by Pillow only: ${code}` : `refused by both: ${code}`
  else if (ours.width !== size[0] || ours.height !== size[1]) what = 'of another size'
  else {
    let most = 0
    for (let j = 0; j < theirs.length; j++) most = Math.max(most, Math.abs(theirs[j]! - ours.data[j]!))
    what = most === 0 ? 'identical' : 'other pixels'
    if (most > 0) console.log(`${path.relative(folder, file)}: up to ${most} levels apart`)
  }
  if (!/refused|identical|Pillow only/.test(what)) console.log(`${path.relative(folder, file)}: ${what}`)
  const name = `${format.padEnd(5)} ${what}`
  counts.set(name, (counts.get(name) ?? 0) + 1)
}
console.log(`${files.length} files`)
for (const [what, number] of [...counts].sort()) console.log(`  ${what.padEnd(44)} ${number}`)
rmSync(scratch, { recursive: true, force: true })
