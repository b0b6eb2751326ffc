/** Every case of the tables beside the reference data has a test, which is named here. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { goldenPath } from '../golden.js'
import { repoRoot } from '../support/cli.js'

/** The test of a case: its file, and words of it. */
const TESTS: Record<string, [file: string, words: string]> = {
  'tiff-orientation': ['test/e2e/cases.test.ts', 'images have the pixels that Pillow sees'],
  'tiff-cmyk16': ['test/e2e/cases.test.ts', 'images have the pixels that Pillow sees'],
  'tiff-alpha16': ['test/e2e/cases.test.ts', 'images have the pixels that Pillow sees'],
  'tiff-signed': ['test/e2e/cases.test.ts', 'images have the pixels that Pillow sees'],
  'tiff-codecs': ['test/e2e/cases.test.ts', 'images have the pixels that Pillow sees'],
  'bmp-rle-delta': ['test/e2e/cases.test.ts', 'images have the pixels that Pillow sees'],
  'tar-appledouble': ['test/e2e/cases.test.ts', 'has its rows, labels and captions'],
  'tar-names': ['test/e2e/cases.test.ts', 'has its rows, labels and captions'],
  'json-nan': ['test/e2e/cases.test.ts', 'has its rows, labels and captions'],
  'jsonl-fields': ['test/e2e/cases.test.ts', 'has its rows, labels and captions'],
  'label-range': ['test/e2e/cases.test.ts', 'has its rows, labels and captions'],
  'parquet-paths': ['test/e2e/cases.test.ts', 'has its rows, labels and captions'],
  'parquet-columns': ['test/e2e/cases.test.ts', 'has its rows, labels and captions'],
  'tar-two-images': ['test/e2e/cases.test.ts', 'has its rows, labels and captions'],
  'tar-checksum': ['test/e2e/cases.test.ts', 'has its rows, labels and captions'],
  'list-utf16': ['test/e2e/cases.test.ts', 'has its rows, labels and captions'],
  'recipe-yaml': ['test/e2e/cases.test.ts', 'the complaint is about the checkpoint'],
  'stdout-full': ['test/e2e/output.test.ts', 'under stdout is said once'],
  'cache-unwritable': ['test/e2e/shared-places.test.ts', 'is done without where it cannot be made'],
  'pandas-folder': ['test/interop/readers.py', 'pandas reads other rows'],
  'classify-handles': ['test/e2e/handles.test.ts', 'classify, embed, index'],
  'empty-class': ['test/e2e/sources.test.ts', 'empty_class'],
  'labels-lost': ['test/e2e/sources.test.ts', 'labels_lost'],
  'ort-telemetry': ['test/e2e/telemetry.test.ts', 'the page asks nothing of the network'],
  'verify-s3-traversal': ['test/e2e/cases.test.ts', 'a bucket cannot make vtp verify write outside'],
  'gc-links': ['test/e2e/cases.test.ts', 'vtp gc follows no link'],
  'wide-image': ['test/e2e/cases.test.ts', 'wide images are refused at once'],
  'config-depth': ['test/e2e/cases.test.ts', 'a configuration of 10⁹ blocks is refused'],
  'parquet-rows': ['test/e2e/cases.test.ts', '10¹² rows in 152 bytes'],
  'terminal-escapes': ['test/e2e/cases.test.ts', 'reaches no terminal with control characters'],
  'recon-two': ['test/e2e/cases.test.ts', 'two evaluations on one --out'],
  'cache-same-pid': ['test/e2e/shared-places.test.ts', 'processes of one number'],
  'tar-global-pax': ['test/e2e/cases.test.ts', 'global headers of a tar cost linear time'],
  'cache-leftovers': ['test/e2e/shared-places.test.ts', 'lose what dead processes have left'],
  'prefetch-bytes': ['src/pipeline/stream/batches.test.ts', 'holds no more source bytes than it may'],
}

/** The first cells of a table: `case/file.tif, other.tif` or `case (no file)`. */
function firstCells(table: string): string[] {
  const text = readFileSync(goldenPath('..', 'cases', table), 'utf8')
  const cells = text.split('\n').map((line) => /^\| ([^|]+) \|/.exec(line)?.[1] ?? '')
  return cells.filter((cell) => cell !== '' && cell !== 'case' && !cell.startsWith('--'))
}

it.each(['README.md', 'ATTACKS.md'])('every line of %s has a test', (table) => {
  const cells = firstCells(table)
  expect(cells.length).toBeGreaterThan(10)
  for (const cell of cells) {
    const [name, ...files] = cell.split(/[/,\s]+/)
    const [file, words] = TESTS[name!] ?? []
    expect(file, `"${name}" of ${table} has no test`).toBeDefined()
    const test = readFileSync(path.join(repoRoot, file!), 'utf8')
    expect(test, `"${name}" of ${table}: ${file}`).toContain(words)
    for (const one of files.filter((part) => /\.\w+$/.test(part)))
      expect(test, `${name}/${one} of ${table}: ${file}`).toMatch(new RegExp(`'${name}(/|', ')${one}'|\\['${one}'`))
  }
})
