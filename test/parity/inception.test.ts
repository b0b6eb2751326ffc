/** sFID's features: which numbers of Inception's maps they are, and in which order. */
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { openSession } from '../../src/engine/session.js'
import { compileGraph } from '../../src/graph/compile.js'
import { buildInception } from '../../src/model/inception/graph.js'
import { goldenPath } from '../golden.js'
import { tempDir } from '../support/cli.js'
import { hashTensor } from '../support/hash-weights.js'

it('are the first seven channels after ReLU, channels last, as ADM flattens TensorFlow maps', async () => {
  const { inception_weights: shapes } = JSON.parse(readFileSync(goldenPath('metrics', 'expected.json'), 'utf8'))
  const read = async (name: string): Promise<Float32Array> => {
    const { data } = hashTensor(name, shapes[name].shape)
    // A branch whose channels are constants: what norm and ReLU leave of them.
    if (name === 'Mixed_6d.branch1x1.conv.weight' || name === 'Mixed_6d.branch1x1.bn.running_mean') return data.fill(0)
    if (name === 'Mixed_6d.branch1x1.bn.bias') return data.map((_, channel) => (channel === 1 ? -2 : channel + 1))
    return data
  }
  const spec = { flavour: 'adm', dims: [], spatial: true } as const
  const graph = await compileGraph({
    cacheDir: tempDir(),
    modelDigest: '0'.repeat(64),
    tower: 'inception-spatial',
    spec,
    build: (builder) => buildInception(builder, read, { ...spec, dims: [] }),
  })
  const session = await openSession({ path: graph.path, providers: ['cpu'], threads: 2 })
  const pixels = { data: new Uint8Array(8 * 8 * 3).fill(90), dtype: 'uint8' as const, dims: [1, 8, 8, 3] }
  const { outputs } = await session.run({ pixels }, ['spatial'])
  const row = [1, 0, 3, 4, 5, 6, 7]
  expect([...(outputs.spatial!.data as Float32Array)]).toEqual(Array.from({ length: 289 }, () => row).flat())
  await session.close()
}, 60_000)
