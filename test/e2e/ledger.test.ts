/** What a run keeps in DEST, and what looks after it: status, verify, gc, finalize. */
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { repoRoot, runCli } from '../support/cli.js'
import { writePictures } from '../support/images.js'
import { outputHashes } from '../support/parts.js'

const dir = mkdtempSync(path.join(tmpdir(), 'vtp ledger '))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const at = (...names: string[]): string => path.join(dir, ...names)
const photos = at('photos')
const encode = (out: string, ...rest: string[]): string[] => [
  'encode',
  photos,
  ...['--out', at(out), '--outputs', 'pixels', '--image-size', '16x16', '--shard-rows', '4', '--max-bad', '1'],
  ...rest,
]

/** A copy of the finished run, to be damaged. */
function copyRun(name: string, from = 'whole'): string {
  cpSync(at(from), at(name), { recursive: true })
  return at(name)
}

beforeAll(async () => {
  await writePictures(photos, 10)
  cpSync(path.join(repoRoot, 'fixtures', 'broken', 'truncated.jpg'), at('photos', 'a', 'bad.jpg'))
  const run = await runCli(encode('whole'))
  expect(run.code, run.stderr).toBe(0)
})

describe('the layout of DEST', () => {
  it.each([
    ['arrow', encode('arrow')],
    ['parquet', encode('parquet', '--format', 'parquet')],
    ['npy', ['embed', photos, '--out', at('npy'), '--format', 'npy', '--max-bad', '1']],
  ])('%s: whatever is not data begins with _ or a dot', async (format, args) => {
    const run = await runCli(args)
    expect(run.code, run.stderr).toBe(0)
    const names = readdirSync(at(format))
    const data = names.filter((name) => !/^[_.]/.test(name))
    if (format === 'npy') expect(data.sort()).toEqual(['img_emb', 'metadata'])
    else expect(data.sort()).toEqual([0, 1, 2].map((unit) => `part-0000${unit}.${format}`))
    expect(names).toContain('_rejects-00000.jsonl')
    expect(names).toContain('_manifest.json')
  })

  it('the output of an earlier version is verified as it is, and takes the new layout on the next run', async () => {
    const old = copyRun('old')
    renameSync(path.join(old, '_rejects-00000.jsonl'), path.join(old, 'rejects-00000.jsonl'))
    rmSync(path.join(old, '.huggingface.yaml'))
    writeFileSync(path.join(old, 'README.md'), '---\nconfigs: []\n---\n\n<!-- written by vtp -->\n')
    const verified = await runCli(['verify', old])
    expect([verified.code, verified.stdout]).toEqual([0, expect.stringContaining('Everything is as the commits say')])
    expect((await runCli(encode('old'))).code).toBe(0)
    expect(outputHashes(old)).toEqual(outputHashes(at('whole')))
  })

  it("a README of one's own is left alone", async () => {
    const own = copyRun('own readme')
    writeFileSync(path.join(own, 'README.md'), '# My latents\n')
    expect((await runCli(['finalize', own])).code).toBe(0)
    expect(readFileSync(path.join(own, 'README.md'), 'utf8')).toBe('# My latents\n')
  })
})

describe('links inside DEST', () => {
  const COMMANDS = [['gc', '--older-than', '0s'], ['verify'], ['finalize'], ['status']]
  const FOLDERS = ['_vtp', '_vtp/tmp', '_vtp/commits', '_vtp/attempts', 'img_emb']

  it.each(COMMANDS.flatMap((command) => FOLDERS.map((folder) => [command, folder] as const)))(
    'vtp %s does not follow %s',
    async ([command, ...flags], folder) => {
      const out = copyRun(`linked ${command} ${folder.replace('/', ' ')}`)
      const victim = at(`victim ${command} ${folder.replace('/', ' ')}`)
      mkdirSync(victim)
      writeFileSync(path.join(victim, 'thesis.txt'), 'precious')
      rmSync(path.join(out, folder), { recursive: true, force: true })
      symlinkSync(victim, path.join(out, folder))
      const run = await runCli([command!, out, ...flags])
      expect([run.code, run.stderr]).toEqual([2, expect.stringMatching(/is a link: links inside an output/)])
      expect(readdirSync(victim)).toEqual(['thesis.txt'])
    },
  )

  it('a part that is a link is a problem, whatever it points to', async () => {
    const out = copyRun('linked part')
    renameSync(path.join(out, 'part-00001.arrow'), at('elsewhere.arrow'))
    symlinkSync(at('elsewhere.arrow'), path.join(out, 'part-00001.arrow'))
    const run = await runCli(['verify', out])
    expect([run.code, run.stdout]).toEqual([1, expect.stringContaining('part-00001.arrow is a link')])
  })
})

it('a commit that names a file elsewhere is a problem of its unit', async () => {
  const out = copyRun('evil')
  const file = path.join(out, '_vtp', 'commits', '00001.json')
  const commit = JSON.parse(readFileSync(file, 'utf8'))
  commit.files.unshift({ ...commit.files[0], name: '../../\u001b]0;x\u0007/part-00000.arrow' })
  writeFileSync(file, JSON.stringify(commit))
  const run = await runCli(['verify', out])
  expect([run.code, run.stdout]).toEqual([1, expect.stringContaining('no run writes a file "../../\\u001b]0;x')])
})
