import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { compileGraph, type GraphFile } from './compile.js'

describe('a graph in the cache', () => {
  const host = globalThis as { BUILD_ID_OF_VTP?: string }
  let cacheDir: string
  let built: number
  beforeEach(() => {
    cacheDir = mkdtempSync(path.join(tmpdir(), 'vtp-compile-'))
    built = 0
  })
  afterEach(() => {
    delete host.BUILD_ID_OF_VTP
    rmSync(cacheDir, { recursive: true })
  })

  /** y = x · w of a weight of 64×64. */
  const compile = (modelDigest = 'model'): Promise<GraphFile> =>
    compileGraph({
      cacheDir,
      modelDigest,
      tower: 'encoder',
      spec: { wide: true },
      async build(graph) {
        built++
        const x = graph.input({ name: 'x', dtype: 'float32', shape: ['N', 64] })
        const w = graph.weight('w', [64, 64], async () => new Float32Array(64 * 64).fill(0.5))
        graph.output(graph.op('MatMul', [x, w]), { name: 'y', dtype: 'float32', shape: ['N', 64] })
      },
    })
  const filesOf = ({ path, weights }: GraphFile) => [readFileSync(path), readFileSync(weights)]

  it('is found by the build that made it, and is what building gives', async () => {
    const plain = await compile()
    host.BUILD_ID_OF_VTP = 'one'
    const made = await compile()
    const found = await compile()
    expect(built).toBe(2)
    expect([made, found]).toEqual([plain, plain])
  })

  it('is built again for another build, another model, and by the sources', async () => {
    host.BUILD_ID_OF_VTP = 'one'
    await compile()
    host.BUILD_ID_OF_VTP = 'two'
    await compile()
    await compile('other')
    delete host.BUILD_ID_OF_VTP
    await compile('other')
    expect(built).toBe(4)
  })

  it('is built again where a file of it is damaged or cut off', async () => {
    host.BUILD_ID_OF_VTP = 'one'
    const graph = await compile()
    const whole = filesOf(graph)
    const changed = Buffer.from(whole[0]!)
    changed[20]! ^= 1
    writeFileSync(graph.path, changed)
    expect(filesOf(await compile())).toEqual(whole)
    truncateSync(graph.weights, 100)
    expect(filesOf(await compile())).toEqual(whole)
    rmSync(path.dirname(graph.path), { recursive: true })
    expect(filesOf(await compile())).toEqual(whole)
    expect(built).toBe(4)
  })
})
