// Compiles what runs in WebAssembly (wasm/, AssemblyScript) and writes the modules into TypeScript files. `--check`
// only compares.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

function compile(source) {
  const scratch = mkdtempSync(path.join(tmpdir(), 'vtp-wasm-'))
  const out = path.join(scratch, 'out.wasm')
  const asc = fileURLToPath(import.meta.resolve('assemblyscript/bin/asc.js'))
  const flags = ['-O3', '--converge', '--noAssert', '--runtime', 'stub', '--use', 'abort=', '--enable', 'simd']
  flags.push('--disableWarning', '112') // vectors between our own files
  execFileSync(process.execPath, [asc, source, '--outFile', out, ...flags], { cwd: root, stdio: 'inherit' })
  const bytes = readFileSync(out)
  rmSync(scratch, { recursive: true })
  return bytes
}

function write(target, name, source, bytes) {
  const lines = Buffer.from(bytes)
    .toString('base64')
    .match(/.{1,110}/g)
  const text = `/** The module of ${source}, built by scripts/build-wasm.mjs. Do not edit. */
export const ${name} = [
${lines.map((line) => `  '${line}',`).join('\n')}
].join('')
`
  if (!process.argv.includes('--check')) writeFileSync(path.join(root, target), text)
  else if (readFileSync(path.join(root, target), 'utf8') !== text) {
    console.error(`${target} is not what ${source} gives: run node scripts/build-wasm.mjs`)
    process.exitCode = 1
  }
}

for (const [target, name, source] of [
  ['src/image/resize-simd-bytes.ts', 'RESIZE_SIMD_WASM', 'wasm/resize/resize.ts'],
  ['src/metrics/linalg/kernels-bytes.ts', 'KERNELS_WASM', 'wasm/linalg/kernels.ts'],
  ['src/image/jpeg/wasm-bytes.ts', 'JPEG_WASM', 'wasm/jpeg/decoder.ts'],
  ['src/image/webp/lossy-bytes.ts', 'LOSSY_WASM', 'wasm/webp-lossy/decoder.ts'],
  ['src/image/webp/lossless-bytes.ts', 'LOSSLESS_WASM', 'wasm/webp-lossless/decoder.ts'],
  ['src/math/moments-bytes.ts', 'MOMENTS_WASM', 'wasm/moments/moments.ts'],
  ['src/train/adamw-bytes.ts', 'ADAMW_WASM', 'wasm/adamw/adamw.ts'],
]) {
  write(target, name, source, compile(source))
}
