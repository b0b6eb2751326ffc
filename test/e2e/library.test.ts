/** The front door for programs: what the functions of src/index.ts give. */
import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { embed, encode, evaluateReconstruction, fid, openIndex, openModel, openShards } from '../../src/index.js'
import { runCli, sharedTempDir } from '../support/cli.js'
import { writeSmallPictures } from '../support/small-images.js'

const dir = sharedTempDir()
const photos = path.join(dir, 'photos')
const small = { transform: 'resize(64,64,bilinear)', imageSize: 64, workers: 1 }

beforeAll(() => writeSmallPictures(photos, 6))

describe('the library', () => {
  it('opens a model and says what it has', async () => {
    const model = await openModel('nano')
    expect(model.outputs({ height: 64, width: 64 }).map(({ name }) => name)).toContain('latents')
    await model.close()
  })

  it('encodes, and reads its rows as typed arrays in the order of the listing', async () => {
    const out = path.join(dir, 'latents')
    const summary = await encode({ source: photos, out, outputs: ['latents', 'pixels'], shardRows: 4, ...small })
    expect(summary).toMatchObject({ images: 6, rejects: 0, rejectsByCode: {}, units: 2, complete: true, out })
    const shards = await openShards(out)
    expect(shards.rows).toBe(6)
    expect(shards.columns[0]).toEqual({ name: 'latents', dtype: 'float32', shape: [64, 4, 4] })
    const keys: string[] = []
    for await (const { key, label, width, tensors } of shards) {
      keys.push(key)
      expect([label !== null, width >= 48]).toEqual([true, true])
      expect(tensors.latents).toBeInstanceOf(Float32Array)
      expect(tensors.latents).toHaveLength(1024)
      expect(tensors.pixels).toBeInstanceOf(Uint8Array)
    }
    expect(keys).toHaveLength(6)
    expect(keys).toEqual([...keys].sort())
    const raw = await openShards(out, { columns: ['latents'], float16: 'raw', batchRows: 2 })
    for await (const { tensors } of raw) expect(Object.values(tensors)[0]).toBeInstanceOf(Uint16Array)
    await expect(openShards(out, { columns: ['clip'] })).rejects.toThrow('has no tensor column "clip"')
  })

  it('stops when the signal says so, and continues', async () => {
    const options = { source: photos, out: path.join(dir, 'stopped'), ...small }
    expect(await encode({ ...options, signal: AbortSignal.abort() }).catch((error) => error)).toBeDefined()
    expect(await encode(options)).toMatchObject({ images: 6, complete: true, interrupted: false })
  })

  it('searches an index by text and by vector', async () => {
    const embeddings = path.join(dir, 'embeddings')
    expect(await embed({ source: photos, out: embeddings })).toMatchObject({ images: 6 })
    const folder = path.join(dir, 'photos.index')
    expect((await runCli(['index', embeddings, '--out', folder, '--kind', 'exact'])).code).toBe(0)
    const index = await openIndex(folder)
    expect([index.rows, index.classes?.length]).toEqual([6, 4])
    const hits = await index.search('a photo', { k: 3 })
    expect(hits.map(({ rank }) => rank)).toEqual([1, 2, 3])
    const rows = await openShards(embeddings)
    for await (const { key, tensors } of rows) {
      const [best] = await index.search(tensors.clip as Float32Array, { k: 1 })
      expect(best!.score).toBeCloseTo(1, 2)
      expect(best!.key).toBe(key)
    }
    await index.close()
  })

  it('evaluates, with the protocol', async () => {
    const result = await evaluateReconstruction({ source: photos, metrics: ['psnr'], limit: 2 })
    expect(result).toMatchObject({ images: 2, interrupted: false })
    expect(result.psnr).toBeGreaterThan(5)
    expect(result.protocol).toContain('adm-crop')
    await expect(fid({ reference: path.join(dir, 'none'), samples: photos })).rejects.toThrow('none')
  })
})
