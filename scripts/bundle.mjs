// Gathers src/ and the libraries that are plain JavaScript into few files below dist/: a command loads a dozen of
// them where it would load six hundred modules. Every entry keeps its path (dist/index.js, dist/cli/main.js, the
// commands, the workers), what several share lies in dist/chunks. Names are not shortened, so that stack traces can
// be read. Libraries with native code, WebAssembly files or optional parts stay in node_modules.
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))
const outdir = path.join(root, 'dist')

async function sources(folder, suffix) {
  const names = await readdir(path.join(root, folder), { recursive: true })
  return names.filter((name) => name.endsWith(suffix)).map((name) => path.join(folder, name))
}

/** Changes with any source file: what an older build has compiled is not taken for this one's. */
const buildHash = createHash('sha256')
for (const file of (await sources('src', '.ts')).sort()) {
  if (!file.endsWith('.test.ts')) buildHash.update(`${file}\n`).update(await readFile(path.join(root, file)))
}

const options = {
  absWorkingDir: root,
  outbase: 'src',
  outdir,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  external: ['onnxruntime-node', 'sharp', 'usearch', 'parquet-wasm', '@lancedb/lancedb', '@oclif/plugin-autocomplete'],
  // CommonJS libraries ask for Node's own modules by `require`.
  banner: {
    js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);",
  },
  // oclif would load a library to compare Node's version with a package.json that a bundle does not have.
  define: {
    'process.env.OCLIF_DISABLE_ENGINE_WARNING': '"1"',
    'globalThis.BUILD_ID_OF_VTP': JSON.stringify(buildHash.digest('hex').slice(0, 16)),
  },
  metafile: true,
  logLevel: 'warning',
}
const split = { splitting: true, chunkNames: 'chunks/[name]-[hash]' }
const workers = await sources('src', '-worker.ts')
const commands = await sources('src/commands', '.ts')
const builds = await Promise.all([
  build({
    ...options,
    ...split,
    entryPoints: ['src/index.ts', 'src/cli/main.ts', ...commands],
  }),
  // A worker is one file: many are started at once, and each loads all of its own. What it imports late is apart.
  ...workers.map((worker) => build({ ...options, ...split, entryPoints: [worker] })),
])
const inputs = Object.assign({}, ...builds.map(({ metafile }) => metafile.inputs))
const outputs = Object.assign({}, ...builds.map(({ metafile }) => metafile.outputs))

// `await import('library')` of CommonJS would have no names in a bundle.
for (const [file, { imports }] of Object.entries(inputs)) {
  if (!file.startsWith('src/')) continue
  const unnamed = imports.find((one) => one.kind === 'dynamic-import' && inputs[one.path]?.format === 'cjs')
  if (unnamed)
    throw new Error(`${file} imports ${unnamed.original} late: import a file of src that imports it statically`)
}

// What an earlier build left. A program that runs meanwhile keeps the chunks that did not change.
const written = new Set(Object.keys(outputs).map((file) => path.resolve(root, file)))
for (const name of await readdir(outdir, { recursive: true })) {
  const file = path.join(outdir, name)
  if (name.endsWith('.js') && !written.has(file)) await rm(file)
}

// The licences of the libraries whose code is in dist/ go with it.
const packages = new Set()
for (const file of Object.keys(inputs)) {
  const at = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(file)
  if (at) packages.add(at[1])
}
const texts = []
for (const folder of [...packages].sort()) {
  const { name, version, license } = JSON.parse(await readFile(path.join(root, folder, 'package.json'), 'utf8'))
  const file = (await readdir(path.join(root, folder))).find((entry) => /^licen[cs]e/i.test(entry))
  const text = file ? await readFile(path.join(root, folder, file), 'utf8') : ''
  texts.push(`${name} ${version} (${license})\n\n${text.trim()}\n`)
}
await mkdir(outdir, { recursive: true })
await writeFile(path.join(outdir, 'LICENSES.txt'), texts.join(`\n${'-'.repeat(80)}\n\n`))
