/** Evaluation as users run it: numbers that repeat, runs that continue, files that other programs read. */
import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openNpz } from '../../src/io/numpy/npz.js'
import { writeNpz } from '../../src/io/numpy/npz-writer.js'
import { goldenPath } from '../golden.js'
import { binPath, runCli } from '../support/cli.js'
import { hashWeightsFolder } from '../support/hash-weights.js'
import { writePictures } from '../support/images.js'

const dir = mkdtempSync(path.join(tmpdir(), 'vtp eval '))
const photos = path.join(dir, 'photos')
const golden = (...parts: string[]): string => goldenPath('metrics', ...parts)
const expected = JSON.parse(readFileSync(golden('expected.json'), 'utf8'))
const weights = hashWeightsFolder()
afterAll(() => rmSync(dir, { recursive: true, force: true }))
beforeAll(() => writePictures(photos, 12))

/** The object that `--json` prints. */
async function json(args: string[], env: Record<string, string> = {}, code = 0) {
  const result = await runCli([...args, '--json'], { env, timeoutMs: 300_000 })
  expect(result.code, result.stderr + result.stdout).toBe(code)
  return JSON.parse(result.stdout)
}

describe('vtp fid', () => {
  it('two folders, and statistics against a folder, equal pytorch-fid', async () => {
    const folders = await json(['fid', golden('fid_ref'), golden('fid_rec'), '--weights', weights])
    const want = expected.fid.folders_2048
    expect(Math.abs(folders.fid - want.nuclear_norm_float64)).toBeLessThan(1e-6 * (want.trace_1 + want.trace_2))
    expect(folders.protocol).toMatch(/pytorch-fid.*N = 6 and 6/)
    const stats = await json([
      'fid',
      golden('ref_stats_dims64.npz'),
      golden('fid_rec'),
      '--dims',
      '64',
      '--weights',
      weights,
    ])
    expect(stats.fid).toBeCloseTo(expected.fid.npz_vs_folder_dims64.nuclear_norm_float64, 6)
  })

  it('saved statistics stand for the folder; batches, order of flavours and other metrics work on the same sets', async () => {
    const file = path.join(dir, 'ref.npz')
    const all = ['fid', golden('fid_ref'), golden('fid_rec'), '--weights', weights]
    await json(['fid', golden('fid_ref'), '--save-stats', file, '--weights', weights])
    const saved = await json(['fid', file, golden('fid_rec'), '--weights', weights, '--batch-size', '1'])
    const direct = await json([...all, '--metrics', 'fid,sfid,kid,is,prec', '--kid-subsets', '3'])
    expect(saved.fid).toBe(direct.fid)
    expect(direct.sfid).toBeGreaterThan(0)
    expect(direct.inceptionScore).toBeGreaterThanOrEqual(1)
    for (const share of [direct.precision, direct.recall]) expect(share >= 0 && share <= 1).toBe(true)
    const same = await json([
      'fid',
      golden('fid_ref'),
      golden('fid_ref'),
      '--weights',
      weights,
      '--metrics',
      'fid,kid,prec',
      '--flavour',
      'clean-fid',
      '--kid-subsets',
      '3',
    ])
    expect(Math.abs(same.fid)).toBeLessThan(1e-3)
    expect([same.precision, same.recall]).toEqual([1, 1])
  })

  it('of a file with images and statistics, the statistics count, and the protocol says so', async () => {
    const stats = await openNpz(golden('ref_stats_dims64.npz'))
    const bytes = async (name: string) => [new Uint8Array((await stats.readFloat64(name)).buffer)]
    const both = path.join(dir, 'both.npz')
    await writeNpz(both, [
      { name: 'arr_0', dtype: '|u1', shape: [2, 8, 8, 3], data: [new Uint8Array(2 * 8 * 8 * 3)] },
      { name: 'mu', dtype: '<f8', shape: [64], data: await bytes('mu') },
      { name: 'sigma', dtype: '<f8', shape: [64, 64], data: await bytes('sigma') },
    ])
    await stats.close()
    const fid = await json(['fid', both, golden('fid_rec'), '--dims', '64', '--weights', weights])
    expect(fid.fid).toBeCloseTo(expected.fid.npz_vs_folder_dims64.nuclear_norm_float64, 6)
    expect(fid.protocol).toMatch(/64-d features; N = unknown and 6; reference: stored statistics/)
    const saved = await json(['fid', both, both, '--dims', '64'])
    expect(saved.protocol).not.toMatch(/Inception|resize|2048/)
    expect(saved.protocol).toMatch(/statistics from files.*64-d/)
    const limited = await json(['fid', both, both, '--dims', '64', '--limit', '1'], {}, 2)
    expect(limited.error.code).toBe('limit_of_statistics')
    const copy = path.join(dir, 'copy.npz')
    await json(['fid', both, '--dims', '64', '--save-stats', copy])
    const written = await openNpz(copy)
    expect([...written.arrays.keys()]).toEqual(['mu', 'sigma'])
    await written.close()
  })

  it('a set with fewer than two readable images is named, with why', async () => {
    const broken = path.join(dir, 'broken set')
    mkdirSync(broken, { recursive: true })
    writeFileSync(path.join(broken, 'a.png'), 'no image')
    const result = await json(['fid', broken, golden('fid_rec'), '--dims', '64', '--weights', weights], {}, 2)
    expect(result.error.message).toMatch(/broken set: .* 0 could be used; 1 cannot be read, first a\.png/)
  })

  it('a matrix that is no covariance is refused', async () => {
    const file = path.join(dir, 'no covariance.npz')
    const bytes = (data: number[]) => [new Uint8Array(Float64Array.from(data).buffer)]
    const put = (data: number[]): Promise<void> =>
      writeNpz(file, [
        { name: 'mu', dtype: '<f8', shape: [2], data: bytes([0, 0]) },
        { name: 'sigma', dtype: '<f8', shape: [2, 2], data: bytes(data) },
      ])
    for (const [data, why] of [
      [[1, 0.5, 0.1, 1], /not symmetric/],
      [[1, 0, 0, -1], /variance of feature 1 is -1/],
    ] as const) {
      await put([...data])
      const result = await json(['fid', file, file], {}, 3)
      expect(result.error.message).toMatch(why)
    }
    await put([1, 0.5, 0.5, 1])
    expect((await json(['fid', file, file])).fid).toBeCloseTo(0, 12)
  })
})

describe('vtp eval-recon', () => {
  // Small crops: VGG at 256 pixels is what takes the time.
  const args = (...more: string[]): string[] => [
    ...['eval-recon', photos, '--weights', weights, '--transform', 'adm-crop(64)'],
    ...more,
  ]
  const numbers = ({ rfid, psnr, ssim, lpips, images }: Record<string, number>) => ({ rfid, psnr, ssim, lpips, images })
  let whole: Record<string, number>
  beforeAll(async () => {
    whole = await json(
      args('--out', path.join(dir, 'whole'), '--report', path.join(dir, 'report.html'), '--save-images'),
    )
  }, 300_000)

  it('interrupted and continued, in other batches: the identical numbers', async () => {
    const out = path.join(dir, 'stopped')
    const stopped = await runCli(args('--out', out, '--batch-size', '3', '--json'), {
      onSpawn: (child) => {
        const watch = setInterval(() => {
          const rows = path.join(out, '_eval', 'rows.jsonl')
          if (!existsSync(rows) || readFileSync(rows, 'utf8').split('\n').length < 3) return
          clearInterval(watch)
          child.kill('SIGTERM')
        }, 20)
        child.on('exit', () => clearInterval(watch))
      },
      timeoutMs: 300_000,
    })
    expect(stopped.code, stopped.stderr).toBe(4)
    const rest = await runCli(args('--out', out, '--batch-size', '5', '--json'), { timeoutMs: 300_000 })
    expect(rest.stderr).toMatch(/Continuing/)
    expect(numbers(JSON.parse(rest.stdout))).toEqual(numbers(whole))
    const lines = readFileSync(path.join(out, '_eval', 'rows.jsonl'), 'utf8')
      .trim()
      .split('\n')
    expect(new Set(lines.map((line) => JSON.parse(line).entry.key)).size).toBe(12)
    expect(lines).toHaveLength(12)
  }, 300_000)

  it('rFID of the saved images is the number that was printed', async () => {
    const saved = (name: string): string => path.join(dir, 'whole', name)
    const again = await json(['fid', saved('reference'), saved('reconstructed'), '--weights', weights])
    expect(again.fid).toBe(whole.rfid)
    expect(readdirSync(saved('reference'))[0]).toBe('ref_000000.png')
  })

  it('per-image scores are a Parquet file whose means are the printed numbers', async () => {
    const rows = await parquetReadObjects({
      file: await asyncBufferFromFile(path.join(dir, 'whole', 'per-image.parquet')),
    })
    expect(rows).toHaveLength(12)
    const mean = (name: string): number => rows.reduce((sum, row) => sum + (row[name] as number), 0) / rows.length
    expect(mean('psnr')).toBeCloseTo(whole.psnr!, 9)
    expect(mean('lpips')).toBeCloseTo(whole.lpips!, 9)
  })

  it('the report is one page without outside addresses or scripts', () => {
    const html = readFileSync(path.join(dir, 'report.html'), 'utf8')
    expect(html).not.toMatch(/<script|(src|href)="(?!data:)/)
    expect(html.match(/<figure/g)!.length).toBeGreaterThan(12)
    expect(html).toContain(whole.psnr!.toFixed(2))
  })

  it('another evaluation in the same folder is refused with what differs; unequal sets make no table', async () => {
    const other = await json(args('--out', path.join(dir, 'whole'), '--limit', '5', '--metrics', 'psnr'), {}, 2)
    expect(other.error.message).toMatch(/images \(12 there, 5 now\)/)
    const five = (limit: string): string[] =>
      args('--out', path.join(dir, 'five'), '--limit', limit, '--metrics', 'psnr')
    await json([...five('6'), '--save-images'])
    // Without the images it is another evaluation; one that starts anew leaves none of those before it.
    expect((await json(five('6'), {}, 2)).error.message).toMatch(/saveImages \(true there, false now\)/)
    await json([...five('5'), '--save-images', '--overwrite'])
    for (const name of ['reference', 'reconstructed']) expect(readdirSync(path.join(dir, 'five', name))).toHaveLength(5)
    const results = (name: string): string => path.join(dir, name, 'results.json')
    const table = await json(['eval', '--results', results('whole'), '--results', results('five')], {}, 2)
    expect(table.error.code).toBe('unequal_sets')
    const good = await json(['eval', '--results', results('whole')])
    expect(good.markdown).toMatch(/\| vtp-nano \|/)
  })

  it('a table that vtp eval --out wrote is read by vtp eval --results, alone and with more', async () => {
    const out = path.join(dir, 'table')
    const made = await json(['eval', photos, '--metrics', 'psnr', '--limit', '4', '--out', out])
    const results = ['--results', path.join(out, 'results.json')]
    const read = await json(['eval', ...results])
    expect([read.models, read.markdown]).toEqual([made.models, made.markdown])
    const more = await json(['eval', photos, '--metrics', 'ssim', '--limit', '4', ...results])
    expect(more.models).toMatchObject([{ model: 'vtp-nano', images: 4, psnr: made.models[0].psnr }])
    expect(more.models[0].ssim).toBeGreaterThan(0)
  })

  it('ridge probes have columns of the same table; sets of other classes and a missing set are refused', async () => {
    const out = path.join(dir, 'probed')
    const probe = ['--tasks', 'zeroshot,probe', '--classnames', 'folder', '--transform', 'resize(32,32,bicubic)']
    const made = await json(['eval', photos, ...probe, '--probe-train', photos, '--out', out])
    expect(made.models).toMatchObject([{ model: 'vtp-nano', images: 12, probeLatents: 100, probeFeatures: 100 }])
    expect(made.models[0].top1).toBeGreaterThanOrEqual(0)
    expect(made.markdown).toMatch(
      /\| probe on latents ↑ \| probe on CLS \+ patches ↑ \|\n.*\n.*\| 100\.00 \| 100\.00 \|/,
    )
    expect(made.markdown).toMatch(
      /ridge probes: resize\(32,32,bicubic\), 12 images to fit \(listing \w{8}\), 12 to judge/,
    )
    const again = await json(['eval', '--results', path.join(out, 'results.json')])
    expect(again.markdown).toBe(made.markdown)
    // As standard output gave it, too.
    writeFileSync(path.join(dir, 'printed.json'), JSON.stringify(made))
    expect((await json(['eval', '--results', path.join(dir, 'printed.json')])).markdown).toBe(made.markdown)
    const unread = await json(['eval', '--results', out], {}, 2)
    expect(unread.error.message).toMatch(/cannot be read/)
    // Another training set is another evaluation.
    const fewer = path.join(dir, 'fewer')
    writePictures(fewer, 9)
    const others = ['eval', photos, '--tasks', 'probe', '--probe-train', fewer, '--out', out]
    expect((await json(others, {}, 2)).error.code).toBe('other_evaluation')
    await json([...others, '--overwrite'])
    const other = path.join(dir, 'set of other classes')
    writePictures(path.join(other, 'unheard of'), 2)
    const refused = await json(['eval', photos, ...probe, '--probe-train', other], {}, 2)
    expect(refused.error.code).toBe('classes_mismatch')
  })

  it('what a later task would refuse is told before the first task begins', async () => {
    const recon = (...args: string[]) => {
      const out = path.join(dir, 'refused early')
      return json(['eval', photos, '--metrics', 'psnr', '--out', out, ...args], {}, 2)
    }
    const more = path.join(dir, 'photos more')
    await writePictures(more, 24)
    const codes: string[] = []
    for (const args of [
      ['--tasks', 'recon,probe'],
      ['--tasks', 'recon', '--probe-train', photos],
      ['--tasks', 'recon,probe', '--probe-train', path.join(dir, 'nothing here')],
      // Of this set the first five images are of one class, of the other one of two.
      ['--tasks', 'recon,probe', '--probe-train', more, '--limit', '5'],
      ['--tasks', 'recon,zeroshot', '--classnames', path.join(dir, 'no names.txt')],
    ]) {
      codes.push((await recon(...args)).error.code)
    }
    expect(codes).toEqual([
      'probe_train_missing',
      'task_missing',
      'source_missing',
      'classes_mismatch',
      'file_unreadable',
    ])
    expect(existsSync(path.join(dir, 'refused early'))).toBe(false)
  })

  it('images that cannot be read are left out of both sets of a probe, and counted', async () => {
    const some = path.join(dir, 'some broken')
    writePictures(some, 8)
    const [folder] = readdirSync(some)
    writeFileSync(path.join(some, folder!, 'empty.jpg'), '')
    const args = ['eval', some, '--tasks', 'probe', '--probe-train', some]
    const result = await json(args, {}, 1)
    expect(result).toMatchObject({ exitReason: 'too_many_rejects', models: [{ images: 8, probeLatents: 100 }] })
    await json([...args, '--max-bad', '20%'])
  })

  it('encoder and decoder each have a precision, the protocol names both, and one table holds them apart', async () => {
    const results = async (name: string, ...precision: string[]) => {
      const out = path.join(dir, name)
      return json(['eval-recon', photos, '--metrics', 'psnr', '--limit', '4', '--out', out, ...precision])
    }
    const exact = await results('at fp32')
    const half = await results('at int8', '--precision', 'int8')
    const both = await results('all int8', '--precision', 'int8', '--decoder-precision', 'int8')
    expect(new Set([exact.psnr, half.psnr, both.psnr]).size).toBe(3)
    expect(exact.protocol).toMatch(/encoder fp32, decoder fp32, metrics fp32/)
    expect(half.protocol).toMatch(/encoder int8, decoder fp32, metrics fp32/)
    expect(both.protocol).toMatch(/encoder int8, decoder int8, metrics fp32/)
    const files = ['at fp32', 'at int8'].flatMap((name) => ['--results', path.join(dir, name, 'results.json')])
    const { models } = await json(['eval', ...files])
    expect(models.map(({ model, psnr }: { model: string; psnr: number }) => [model, psnr])).toEqual([
      ['vtp-nano (fp32)', exact.psnr],
      ['vtp-nano (int8)', half.psnr],
    ])
    const refused = await json(['eval-recon', photos, '--decoder-precision', 'fp16', '--device', 'cpu'], {}, 2)
    expect(refused.error.message).toMatch(/--decoder-precision fp16 is not offered on the device cpu/)
  })

  it('images that cannot be read are counted, and too many of them are exit code 1', async () => {
    const bad = path.join(dir, 'bad')
    await writePictures(bad, 4)
    writeFileSync(path.join(bad, 'a', 'zz.jpg'), 'no image')
    const result = await json(['eval-recon', bad, '--metrics', 'psnr'], {}, 1)
    expect([result.images, result.rejects]).toEqual([4, 1])
  })
})

describe('vtp eval-zeroshot', () => {
  it('own classes: accuracies, a row per class, and the class embeddings come from the cache the second time', async () => {
    const names = path.join(dir, 'names.txt')
    const templates = path.join(dir, 'templates.txt')
    writeFileSync(names, 'red waves\ngreen noise\nblue squares\n')
    writeFileSync(templates, 'a photo of {c}.\na drawing of {c}.\n')
    const args = ['eval-zeroshot', photos, '--classnames', names, '--templates', templates]
    const first = await json(args)
    expect(first.images).toBe(12)
    expect(first.classes.map((c: { images: number }) => c.images)).toEqual([4, 4, 4])
    expect(first.top5).toBe(100)
    // Templates from a pipe, which can be read once.
    const pipe = '"$0" "$@" --json --batch-size 5 --templates <(cat "$TEMPLATES")'
    const again = spawnSync('bash', ['-c', pipe, process.execPath, binPath, ...args.slice(0, -2)], {
      env: { ...process.env, TEMPLATES: templates },
      encoding: 'utf8',
    })
    expect(again.stderr).not.toMatch(/Embedding/)
    expect(JSON.parse(again.stdout).top1).toBe(first.top1)
  })

  it('a number of classes that is not the number of names is refused', async () => {
    const result = await json(['eval-zeroshot', photos, '--limit', '3'], {}, 2)
    expect(result.error.message).toMatch(/3 classes, but there are 1000 class names/)
  })
})

describe('vtp eval-probe', () => {
  const schedule = ['--epochs', '2', '--epoch-length', '3', '--batch-size', '8']

  it('stopped and continued, the probe ends with the same grid', async () => {
    const args = ['eval-probe', '--train', photos, '--val', photos, ...schedule]
    const whole = await json([...args, '--out', path.join(dir, 'probe')])
    expect(Object.keys(whole.accuracies).length).toBeGreaterThan(15)
    const out = path.join(dir, 'probe stopped')
    const stopped = await runCli([...args, '--out', out, '--json'], {
      onSpawn: (child) =>
        void child.stderr!.on('data', (text) => /Epoch 1/.test(String(text)) && child.kill('SIGTERM')),
    })
    expect(stopped.code, stopped.stderr).toBe(4)
    const rest = await json([...args, '--out', out])
    expect(rest.accuracies).toEqual(whole.accuracies)
    expect(rest.losses).toEqual(whole.losses)
    expect([rest.readings, rest.rejects]).toEqual([whole.readings, whole.rejects])
  }, 120_000)

  it('classes go by their names; unknown ones and images that cannot be read are told of', async () => {
    const probe = (train: string, val: string): string[] => [
      ...['eval-probe', '--train', train, '--val', val, '--epochs', '1', '--epoch-length', '1', '--batch-size', '4'],
      ...['--blocks', '1', '--learning-rates', '0.1'],
    ]
    const other = path.join(dir, 'other classes')
    await writePictures(other, 3)
    renameSync(path.join(other, 'b'), path.join(other, 'z'))
    const refused = await json(probe(photos, other), {}, 2)
    expect(refused.error.message).toMatch(/classes that .*photos lacks: z$/)
    const broken = path.join(dir, 'broken probe')
    for (const name of ['a', 'b', 'c']) {
      mkdirSync(path.join(broken, name), { recursive: true })
      writeFileSync(path.join(broken, name, '1.jpg'), 'no image')
    }
    const none = await json(probe(photos, broken), {}, 1)
    expect(none.error.message).toMatch(/None of the 3 validation images/)
    writeFileSync(
      path.join(broken, 'a', '2.jpg'),
      readFileSync(path.join(photos, 'a', readdirSync(path.join(photos, 'a'))[0]!)),
    )
    const some = await json(probe(photos, broken), {}, 1)
    expect([some.readings, some.rejects]).toEqual([8, 3])
    await json([...probe(photos, broken), '--max-bad', '50%'])
  })

  it('features that vtp encode wrote: grid, k-NN and ridge', async () => {
    for (const part of ['train', 'val'])
      await json(['encode', photos, '--out', path.join(dir, 'features', part), '--outputs', 'layers', '--layers', '4'])
    const result = await json([
      'eval-probe',
      '--features',
      path.join(dir, 'features'),
      ...schedule,
      '--neighbours',
      '1',
    ])
    expect(result.knn).toBe(100)
    expect(result.ridge.best).toBe(100)
    expect(result.protocol).toMatch(
      /without augmentation \(train resize.*, encoder \w+, stored as float\d\d; validation resize/,
    )
    const few = await json(['eval-probe', '--features', path.join(dir, 'features'), ...schedule, '--limit', '5'])
    expect(few.images).toEqual({ train: 5, val: 5 })
    expect(few.protocol).toMatch(/k-NN k = 5/)
  })
})
