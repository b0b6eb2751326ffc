/** Every family against the official code: all outputs of all reference cases within their tolerances. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ImageModel, type ImageSize, openModel } from '../../src/model/index.js'
import { goldenPath } from '../golden.js'
import { encodeCase, openPeerCase, ort, PEER_CASES, type PeerCase, relativeErrors, runGraph } from '../support/peers.js'

const cacheDir = mkdtempSync(path.join(tmpdir(), 'vtp-peers-'))
afterAll(() => rmSync(cacheDir, { recursive: true, force: true }))

/** A size that the model was not trained for, where it takes one: taller by two patches of any family. */
function otherSize(model: ImageModel): ImageSize {
  const { height, width } = model.imageSize
  for (const more of [28, 32]) {
    const size = { height: Math.min(height, 64) + more, width: Math.min(width, 64) }
    try {
      model.assertSize(size)
      return size
    } catch {
      // Not a multiple of its patch, or the model takes its own size only.
    }
  }
  return { height, width }
}

async function integers({ golden }: PeerCase, key: string): Promise<number[]> {
  const bytes = await golden.readBytes(key)
  return Array.from(new BigInt64Array(bytes.slice().buffer), Number)
}

describe.each(PEER_CASES)('%s', (name, file) => {
  let peer: PeerCase
  let model: ImageModel
  beforeAll(async () => {
    peer = await openPeerCase(name)
    model = await openModel(file ? goldenPath('peers', name, file) : peer.folder, { cacheDir })
  })
  afterAll(async () => {
    await peer.golden.close()
    await model.close()
  })

  const check = async (key: string, actual: ArrayLike<number>): Promise<void> => {
    const wanted = await peer.golden.readFloat32(key)
    expect(actual.length, key).toBe(wanted.length)
    const { tolerance } = peer.expected.outputs[key]!
    const error = relativeErrors(actual, wanted)
    expect(error.rel_l2, `${key} rel_l2`).toBeLessThanOrEqual(tolerance!.rel_l2)
    expect(error.rel_max, `${key} rel_max`).toBeLessThanOrEqual(tolerance!.rel_max)
  }

  it('every output of the image encoder', async () => {
    const outputs = await encodeCase(peer, model)
    expect(Object.keys(outputs).length).toBeGreaterThan(0)
    for (const [key, { data }] of Object.entries(outputs)) {
      if (key === 'codes') expect(Array.from(data, Number)).toEqual(await integers(peer, key))
      else await check(key, data)
    }
  })

  it('an image encoded alone has the same bits as in a batch of three, at another size, with other threads', async () => {
    const { height, width } = otherSize(model)
    const outputs = model.outputs({ height, width }).map(({ name }) => name) as never
    const spec = { height, width, outputs, dtype: 'float32', precision: 'fp32', device: 'cpu' } as const
    const graph = await model.compileEncoder(spec)
    const size = height * width * 3
    const bytes = Uint8Array.from({ length: 3 * size }, (_, i) => Math.imul(i, 2654435761) >>> 24)
    const run = (from: number, to: number, threads: number): ReturnType<typeof runGraph> =>
      runGraph(
        graph,
        { pixels: new ort.Tensor('uint8', bytes.slice(from * size, to * size), [to - from, height, width, 3]) },
        threads,
      )
    const together = await run(0, 3, 2)
    for (const i of [0, 2]) {
      const alone = await run(i, i + 1, 1)
      for (const [name, { data }] of Object.entries(alone)) {
        const all = Array.from(together[name]!.data)
        expect(Array.from(data), name).toEqual(all.slice((i * all.length) / 3, ((i + 1) * all.length) / 3))
      }
    }
  })

  it('what it lists is what its graph gives', async () => {
    const { height, width } = model.imageSize
    const columns = model.outputs(model.imageSize, model.depth > 0 ? [0] : [])
    const graph = await model.compileEncoder({
      height,
      width,
      outputs: columns.map(({ name }) => (name.startsWith('layer_') ? 'layers' : name)) as never,
      layers: model.depth > 0 ? [0] : [],
      dtype: 'float32',
      precision: 'fp32',
      device: 'cpu',
    })
    const shapes = Object.fromEntries(graph.outputs.map((port) => [port.name, port.shape.slice(1)]))
    expect(shapes).toEqual(Object.fromEntries(columns.map((column) => [column.name, column.shape])))
  })

  it('decoded images, as the model returns and as its script saves them', async () => {
    const wanted = peer.golden.tensors.get('decoded')
    if (!model.decoder) return expect(wanted === undefined || name === 'mae_full').toBe(true)
    const latents = peer.golden.tensors.get('latents')!
    const [, channels, height = 0, width = 0] = latents.shape
    expect(model.decoder.imageSize({ height, width })).toEqual({ height: wanted!.shape[2], width: wanted!.shape[3] })
    const graph = await model.decoder.compile({ height, width, outputs: ['image', 'pixels'] })
    const values = await peer.golden.readFloat32('latents')
    const outputs = await runGraph(graph, { latents: new ort.Tensor('float32', values, latents.shape) })
    expect(channels).toBe(model.decoder.latentShape(model.decoder.imageSize({ height, width }))[0])
    await check('decoded', outputs.image!.data)
    const bytes = await peer.golden.readBytes('decoded_u8')
    const { levels, fraction } = peer.expected.outputs.decoded_u8!.tolerance as unknown as {
      levels: number
      fraction: number
    }
    const off = Array.from(bytes, (value, i) => Math.abs(value - (outputs.pixels!.data[i] as number)))
    expect(outputs.pixels!.data.length).toBe(bytes.length)
    expect(Math.max(...off)).toBeLessThanOrEqual(levels)
    expect(off.filter((value) => value > 0).length / off.length).toBeLessThanOrEqual(fraction)
  })

  it('texts, from ids', async () => {
    const ids = peer.golden.tensors.get('in.ids')
    if (ids) expect(model.text).toBeDefined()
    if (!ids || !model.text) return
    const bytes = await peer.golden.readBytes('in.ids')
    const values = new BigInt64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
    const graph = await model.text.compile({ outputs: ['clip', 'features'] })
    const outputs = await runGraph(graph, { ids: new ort.Tensor('int64', values, ids.shape) })
    await check('text', outputs.clip!.data)
    await check('text_features', outputs.features!.data)
    const { scale, bias } = await model.text.logitScale()
    const images = await peer.golden.readFloat32('clip')
    const [dim, texts] = [model.text.dim, ids.shape[0]!]
    const logits = Array.from({ length: (images.length / dim) * texts }, (_, at) => {
      const [i, t] = [Math.floor(at / texts), at % texts]
      let dot = 0
      for (let d = 0; d < dim; d++) dot += images[i * dim + d]! * (outputs.clip!.data[t * dim + d] as number)
      return scale * dot + bias
    })
    await check('logits_per_image', logits)
  })
})
