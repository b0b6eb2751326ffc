/** The house rules that imports show: dependencies point one way, and commands start fast. */
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { repoRoot } from './support/cli.js'

/** Top to bottom; a folder may import from those after it. */
const LAYERS = [
  'commands',
  'cli',
  'api',
  'retrieval',
  'pretrain',
  'train',
  'generate',
  'metrics',
  'pipeline',
  'engine',
  'model',
  'graph',
  'io',
  'image',
  'async',
  'math',
  '.',
]

const source = path.join(repoRoot, 'src')
const files = (readdirSync(source, { recursive: true }) as string[]).filter(
  (name) => name.endsWith('.ts') && !name.endsWith('.test.ts'),
)

function layer(file: string): string {
  const [folder, ...rest] = file.split(path.sep)
  return rest.length > 0 ? folder! : '.'
}

interface Import {
  from: string
  isType: boolean
  isStatic: boolean
}

function importsOf(file: string): Import[] {
  const text = readFileSync(path.join(source, file), 'utf8')
  const found: Import[] = []
  for (const match of text.matchAll(/^(?:import|export)\s+(type\s)?[^'";]*?from\s+'([^']+)'|^import\s+'([^']+)'/gm)) {
    found.push({ from: match[2] ?? match[3]!, isType: match[1] !== undefined, isStatic: true })
  }
  for (const match of text.matchAll(/\bimport\('([^']+)'\)/g))
    found.push({ from: match[1]!, isType: false, isStatic: false })
  return found
}

/** The file below src/ that a relative import names. */
function target(file: string, from: string): string {
  return path.join(path.dirname(file), from).replace(/\.js$/, '.ts')
}

describe('imports', () => {
  it('point one way: commands, cli, pipeline, engine, model, graph, io, image', () => {
    const wrong: string[] = []
    for (const file of files) {
      for (const { from } of importsOf(file).filter((entry) => entry.from.startsWith('.'))) {
        const to = target(file, from)
        expect(LAYERS, `src/${to}`).toContain(layer(to))
        // Files of src/ itself: types and errors are below everything; the package's entry is above it.
        if (layer(file) === '.' || layer(to) === '.') continue
        if (LAYERS.indexOf(layer(to)) < LAYERS.indexOf(layer(file))) wrong.push(`${file} imports ${to}`)
      }
    }
    expect(wrong).toEqual([])
  })

  it('never come back to where they began: no circles, of types and of `import()` neither', () => {
    const circles = new Set<string>()
    const done = new Set<string>()
    const visit = (file: string, trail: string[]): void => {
      const at = trail.indexOf(file)
      if (at >= 0) circles.add([...trail.slice(at), file].join(' > '))
      if (at >= 0 || done.has(file)) return
      for (const { from } of importsOf(file).filter((entry) => entry.from.startsWith('.'))) {
        const to = target(file, from)
        if (files.includes(to)) visit(to, [...trail, file])
      }
      done.add(file)
    }
    for (const file of files) visit(file, [])
    expect([...circles]).toEqual([])
  })

  it('name files that exist', () => {
    const missing = files.flatMap((file) =>
      importsOf(file)
        .filter(({ from }) => from.startsWith('.'))
        .map(({ from }) => target(file, from))
        .filter((to) => !files.includes(to) && !to.endsWith('.json')),
    )
    expect(missing).toEqual([])
  })

  it('keep heavy libraries out of what a command needs to explain itself', () => {
    const heavy =
      /^(@aws-sdk\/client-s3|onnxruntime-node|sharp|apache-arrow|parquet-wasm|hyparquet|hyparquet-writer|protobufjs|zod|yaml|tar-stream|usearch)$/
    const found: string[] = []
    for (const command of files.filter((file) => layer(file) === 'commands')) {
      const seen = new Set<string>()
      const visit = (file: string): void => {
        if (seen.has(file)) return
        seen.add(file)
        for (const { from, isType, isStatic } of importsOf(file)) {
          if (isType || !isStatic) continue
          if (heavy.test(from)) found.push(`${command} loads ${from} by way of ${file}`)
          else if (from.startsWith('.')) visit(target(file, from))
        }
      }
      visit(command)
      expect(seen.size).toBeGreaterThan(1)
    }
    expect(found).toEqual([])
  })
})

describe('ONNX Runtime', () => {
  it('is loaded in one place, behind the switch for its telemetry', () => {
    const programs = ['src', 'test', 'bench', 'scripts'].flatMap((folder) =>
      (readdirSync(path.join(repoRoot, folder), { recursive: true }) as string[])
        .filter((name) => /\.(ts|js|mjs)$/.test(name))
        .map((name) => path.join(folder, name)),
    )
    const loads = /(from|import|import\(|require\()\s*'onnxruntime-node'/
    const loaders = programs.filter((name) => loads.test(readFileSync(path.join(repoRoot, name), 'utf8')))
    expect(loaders).toEqual(['src/engine/load-runtime.ts'])
  })
})

describe('below the command line', () => {
  it('nothing prints, reads arguments or ends the process (but workers their own)', () => {
    const wrong: string[] = []
    for (const file of files.filter(
      (name) => !['commands', 'cli'].includes(layer(name)) && !/[-/]worker\.ts$/.test(name),
    )) {
      const text = readFileSync(path.join(source, file), 'utf8')
      for (const [call] of text.matchAll(/\b(process\.(argv|exit\(|exitCode|stdout|stderr)|console\.\w+)/g))
        wrong.push(`${file}: ${call}`)
    }
    expect(wrong).toEqual([])
  })
})

describe('the command line', () => {
  it('writes to stdout and stderr in one place, cli/terminal', () => {
    const wrong: string[] = []
    for (const file of files.filter((name) => ['commands', 'cli'].includes(layer(name)))) {
      // The entry listens to their errors and waits for their end.
      if (file.startsWith(path.join('cli', 'terminal')) || file === path.join('cli', 'main.ts')) continue
      const text = readFileSync(path.join(source, file), 'utf8')
      for (const [call] of text.matchAll(/\b(process\.(stdout|stderr)|console\.\w+|this\.(log|warn)\()/g))
        wrong.push(`${file}: ${call}`)
    }
    expect(wrong).toEqual([])
  })
})

describe('models', () => {
  const families = files
    .filter((file) => /^model[\\/][\w-]+[\\/]family\.ts$/.test(file))
    .map((file) => path.dirname(file))
  /** Networks that are no image models: they have doors of their own, model/dit.ts and model/networks.ts. */
  const others = ['lightningdit', 'inception', 'lpips'].map((name) => path.join('model', name))

  /** Training builds its own graphs from the parts of an architecture: of VTP with LPIPS, and of LightningDiT. */
  const trains = (file: string, folder: string): boolean =>
    ({ pretrain: ['vtp', 'lpips'], train: ['lightningdit'] })[layer(file)]?.includes(path.basename(folder)) ?? false

  it('are opened by the doors of src/model: nobody else outside imports the folder of an architecture', () => {
    expect(families.length).toBeGreaterThan(0)
    const wrong: string[] = []
    for (const file of files) {
      const inside = layer(file) === 'model' && path.dirname(file) !== 'model'
      const door = ['registry.ts', 'dit.ts', 'networks.ts'].some((name) => file === path.join('model', name))
      if (inside || door) continue
      for (const { from } of importsOf(file).filter((entry) => entry.from.startsWith('.'))) {
        const to = target(file, from)
        const folder = path.dirname(to)
        if ([...families, ...others].includes(folder) && !trains(file, folder)) wrong.push(`${file} imports ${to}`)
      }
    }
    expect(wrong).toEqual([])
  })

  it('keep their configuration to themselves: nobody above src/model reads it', () => {
    const above = LAYERS.slice(0, LAYERS.indexOf('model')).filter((name) => name !== 'pretrain')
    const wrong: string[] = []
    for (const file of files.filter((name) => above.includes(layer(name)))) {
      const text = readFileSync(path.join(source, file), 'utf8')
      const reads =
        /\bmodel\.(config|settings)\.|\b(vision|train|text|decoder)_(?!in_|out_)[a-z_]*(dim|depth|heads|patch_size|clip|reconstruction|length|size)\b/g
      for (const [read] of text.matchAll(reads)) wrong.push(`${file}: ${read}`)
    }
    expect(wrong).toEqual([])
  })
})
