// Assembles each NAME.wat of src into NAME-bytes.ts beside it. `--check` only compares.
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import wabtFactory from 'wabt'

const SOURCES = ['src/image/resize-simd.wat', 'src/metrics/linalg/kernels.wat']

const root = fileURLToPath(new URL('..', import.meta.url))
const wabt = await wabtFactory()
const features = { simd: true }
for (const source of SOURCES) {
  const name = path.basename(source, '.wat')
  const target = path.join(root, source.replace(/\.wat$/, '-bytes.ts'))
  const module = wabt.parseWat(source, readFileSync(path.join(root, source), 'utf8'), features)
  module.validate(features)
  const lines = Buffer.from(module.toBinary({}).buffer)
    .toString('base64')
    .match(/.{1,110}/g)
  const text = `/** The module of ${name}.wat, assembled by scripts/build-wasm.mjs. Do not edit. */
export const ${name.replaceAll('-', '_').toUpperCase()}_WASM = [
${lines.map((line) => `  '${line}',`).join('\n')}
].join('')
`
  if (!process.argv.includes('--check')) writeFileSync(target, text)
  else if (readFileSync(target, 'utf8') !== text) {
    console.error(`${target} is not what ${source} assembles to: run node scripts/build-wasm.mjs`)
    process.exitCode = 1
  }
}
