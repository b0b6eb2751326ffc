/** `vtp embed` and `vtp classify` as users run them. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pack } from 'tar-stream'
import { describe, expect, it } from 'vitest'
import { openTextEncoder } from '../../src/engine/text-encoder.js'
import { openShard } from '../../src/io/shards/index.js'
import { float16ToFloat32 } from '../../src/math/half.js'
import { openModel } from '../../src/model/index.js'
import type { RowMeta } from '../../src/types.js'
import { repoRoot, runCli, tempDir } from '../support/cli.js'
import { encodedPicture, writePictures } from '../support/images.js'

interface Table {
  rows: RowMeta[]
  column(name: string): Float32Array
}

async function readTable(file: string): Promise<Table> {
  const shard = await openShard(file)
  const rows: RowMeta[] = []
  const values = new Map<string, number[]>()
  try {
    const names = shard.columns.map((column) => column.name)
    for await (const batch of shard.read(names, 512)) {
      rows.push(...batch.rows)
      for (const name of names) {
        const data = batch.tensors[name]!
        const floats = data instanceof Uint16Array ? float16ToFloat32(data) : data
        values.set(name, [...(values.get(name) ?? []), ...floats])
      }
    }
  } finally {
    await shard.close()
  }
  return { rows, column: (name) => Float32Array.from(values.get(name) ?? []) }
}

async function embedTexts(texts: string[], precision?: 'int8'): Promise<Float32Array> {
  const model = await openModel('nano')
  const encoder = await openTextEncoder(model, { precision })
  try {
    return await encoder.encode(texts)
  } finally {
    await encoder.close()
    await model.close()
  }
}

/** Image-text pairs; the third image has no caption. */
async function writePairs(file: string): Promise<void> {
  const tar = pack()
  for (let i = 0; i < 5; i++) {
    tar.entry({ name: `pair${i}.jpg` }, await encodedPicture(i, 64, 48, 'jpeg'))
    if (i !== 2) tar.entry({ name: `pair${i}.txt` }, `caption number ${i}`)
  }
  tar.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of tar) chunks.push(chunk as Buffer)
  writeFileSync(file, Buffer.concat(chunks))
}

describe('vtp embed', () => {
  it('embeds every line of a text: key is its number, caption the line', async () => {
    const dir = tempDir()
    const lines = ['a red bus', '', 'ein Schiff auf dem Meer', '  spaced  ', 'na\u00efve caf\u00c3\u00a9 &amp; 🚢']
    writeFileSync(path.join(dir, 'captions.txt'), `\uFEFF${lines.join('\r\n')}\n`)
    const out = path.join(dir, 'texts')
    const run = await runCli([
      'embed',
      '--text',
      path.join(dir, 'captions.txt'),
      '--out',
      out,
      '--dtype',
      'float32',
      '--json',
    ])
    expect(run.code, run.stderr).toBe(0)
    expect(JSON.parse(run.stdout)).toMatchObject({ images: 5, rejects: 0, complete: true })
    const table = await readTable(path.join(out, 'part-00000.parquet'))
    expect(table.rows.map((row) => row.key)).toEqual(['0', '1', '2', '3', '4'])
    expect(table.rows.map((row) => row.caption)).toEqual(lines)
    expect(table.column('clip')).toEqual(await embedTexts(lines))
  })

  it('embeds texts at the precision that is asked for', async () => {
    const dir = tempDir()
    const lines = ['a red bus', 'a ship on the sea']
    const flags = ['--text', '-', '--out', dir, '--dtype', 'float32', '--precision', 'int8']
    const run = await runCli(['embed', ...flags], { input: lines.join('\n') })
    expect(run.code, run.stderr).toBe(0)
    const clip = (await readTable(path.join(dir, 'part-00000.parquet'))).column('clip')
    expect(clip).toEqual(await embedTexts(lines, 'int8'))
    expect(clip).not.toEqual(await embedTexts(lines))
  })

  it('takes texts from standard input, in shards whose bytes do not depend on the batch size', async () => {
    const dir = tempDir()
    const input = Array.from({ length: 25 }, (_, i) => `text ${i} ${'word '.repeat(i)}`).join('\n')
    for (const size of ['1', '16']) {
      const args = ['embed', '--text', '-', '--out', path.join(dir, size), '--shard-rows', '10', '--batch-size', size]
      const run = await runCli(args, { input })
      expect(run.code, run.stderr).toBe(0)
    }
    for (const part of ['part-00000.parquet', 'part-00001.parquet', 'part-00002.parquet'])
      expect(readFileSync(path.join(dir, '1', part)).equals(readFileSync(path.join(dir, '16', part))), part).toBe(true)
  })

  it('embeds images with their captions, and a row without a caption as zeros', async () => {
    const dir = tempDir()
    await writePairs(path.join(dir, 'pairs.tar'))
    const out = path.join(dir, 'pairs')
    const args = ['embed', path.join(dir, 'pairs.tar'), '--out', out, '--dtype', 'float32']
    const run = await runCli(args)
    expect(run.code, run.stderr).toBe(0)
    const { rows, column } = await readTable(path.join(out, 'part-00000.parquet'))
    const texts = column('clip_text')
    const dim = texts.length / 5
    const wanted = await embedTexts(rows.flatMap((row) => row.caption ?? []))
    expect([...texts.subarray(0, 2 * dim)]).toEqual([...wanted.subarray(0, 2 * dim)])
    expect(texts.subarray(2 * dim, 3 * dim).every((value) => value === 0)).toBe(true)
    expect(Math.hypot(...column('clip').subarray(2 * dim, 3 * dim))).toBeCloseTo(1, 5)
    // The same images without captions: the same embeddings.
    const plain = path.join(dir, 'plain')
    await runCli([...args.slice(0, 3), plain, '--dtype', 'float32', '--no-captions'])
    expect(existsSync(path.join(plain, 'part-00000.parquet'))).toBe(true)
    expect((await readTable(path.join(plain, 'part-00000.parquet'))).column('clip')).toEqual(column('clip'))
  })

  it("writes clip-retrieval's layout, resumable like any other", async () => {
    const dir = tempDir()
    await writePairs(path.join(dir, 'pairs.tar'))
    writeFileSync(path.join(dir, 'list.jsonl'), '{"uri":"missing.jpg","caption":"not there"}\n')
    const [out, again] = [path.join(dir, 'npy'), path.join(dir, 'again')]
    const args = (dest: string): string[] => [
      'embed',
      path.join(dir, 'pairs.tar'),
      '--out',
      dest,
      '--format',
      'npy',
      '--shard-rows',
      '2',
    ]
    expect((await runCli([...args(out), '--units', '1'])).code).toBe(0)
    const run = await runCli(args(out))
    expect(run.code, run.stderr).toBe(0)
    expect((await runCli(args(again))).code).toBe(0)
    for (const folder of ['img_emb', 'text_emb', 'metadata']) {
      const names = readdirSync(path.join(out, folder))
      expect(names.length).toBe(3)
      for (const name of names)
        expect(readFileSync(path.join(out, folder, name)).equals(readFileSync(path.join(again, folder, name)))).toBe(
          true,
        )
    }
    const { rows, column } = await readTable(path.join(out, 'img_emb', 'img_emb_2.npy'))
    expect(rows.map((row) => [row.key, row.caption])).toEqual([['pairs.tar/pair4', 'caption number 4']])
    expect(Math.hypot(...column('clip'))).toBeCloseTo(1, 2)
  })

  it('says what it wants when there is nothing to embed, or too much', async () => {
    const dir = tempDir()
    for (const args of [[], ['photos', '--text', 'captions.txt']]) {
      const run = await runCli(['embed', ...args, '--out', dir])
      expect(run.code).toBe(2)
      expect(run.stderr).toMatch(/Try: vtp embed/)
    }
    writeFileSync(path.join(dir, 'empty.txt'), '')
    const empty = await runCli(['embed', '--text', path.join(dir, 'empty.txt'), '--out', path.join(dir, 'out')])
    expect([empty.code, empty.stderr]).toEqual([2, expect.stringMatching(/No line of text/)])
  })
})

describe('vtp classify', () => {
  it('gives every image probabilities of all labels, from images and from embeddings alike', async () => {
    const dir = tempDir()
    const photos = path.join(dir, 'photos')
    mkdirSync(photos)
    await writePictures(photos, 4)
    writeFileSync(path.join(photos, 'a', 'broken.jpg'), 'no image')
    writeFileSync(path.join(dir, 'labels.txt'), 'a dog\na ship\n\na stripe pattern\n')
    writeFileSync(path.join(dir, 'templates.txt'), 'a photo of {}.\na drawing of {c}.\n')
    const labels = [
      '--labels',
      path.join(dir, 'labels.txt'),
      '--templates',
      path.join(dir, 'templates.txt'),
      '--top',
      '3',
    ]
    const kept = path.join(dir, 'kept')
    const run = await runCli(['classify', photos, ...labels, '--embeddings', kept, '--max-bad', '50%'])
    expect(run.code, run.stderr).toBe(0)
    const rows = run.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { key: string; label: string; top: { label: string; probability: number }[] })
    expect(rows.length).toBe(4)
    for (const { label, top } of rows) {
      expect(top.map((entry) => entry.label).sort()).toEqual(['a dog', 'a ship', 'a stripe pattern'])
      expect(top[0]!.label).toBe(label)
      expect(top.reduce((sum, entry) => sum + entry.probability, 0)).toBeCloseTo(1, 4)
    }
    const again = await runCli(['classify', kept, ...labels])
    expect(again.stdout).toBe(run.stdout)
    const bad = await runCli(['classify', photos, '--labels', path.join(repoRoot, 'no such file')])
    expect([bad.code, bad.stderr]).toEqual([2, expect.stringMatching(/cannot be read/)])
  })
})
