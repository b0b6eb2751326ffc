// Assembles src/image/resize-simd.wat into src/image/resize-simd-bytes.ts. `--check` only compares.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import wabtFactory from 'wabt'

const source = fileURLToPath(new URL('../src/image/resize-simd.wat', import.meta.url))
const target = source.replace(/\.wat$/, '-bytes.ts')
const wabt = await wabtFactory()
const features = { simd: true }
const module = wabt.parseWat(source, readFileSync(source, 'utf8'), features)
module.validate(features)
const { buffer } = module.toBinary({})
const lines = Buffer.from(buffer)
  .toString('base64')
  .match(/.{1,110}/g)
const text = `/** The module of resize-simd.wat, assembled by scripts/build-wasm.mjs. Do not edit. */
export const RESIZE_SIMD_WASM = [
${lines.map((line) => `  '${line}',`).join('\n')}
].join('')
`
if (!process.argv.includes('--check')) writeFileSync(target, text)
else if (readFileSync(target, 'utf8') !== text) {
  console.error(`${target} is not what ${source} assembles to: run node scripts/build-wasm.mjs`)
  process.exitCode = 1
}
