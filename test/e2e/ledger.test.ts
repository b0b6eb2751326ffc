/** What a run keeps in DEST, and what looks after it: status, verify, gc, finalize. */
import {
  cpSync,
  existsSync,
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
import { randomDit, vtpStyle } from '../../bench/support/random-dit.js'
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
  it.each(COMMANDS)('vtp %s does not follow a linked folder', async (command, ...flags) => {
    const out = copyRun(`linked ${command}`)
    const victim = at(`victim ${command}`)
    mkdirSync(victim)
    writeFileSync(path.join(victim, 'thesis.txt'), 'precious')
    rmSync(path.join(out, '_vtp', 'tmp'), { recursive: true, force: true })
    symlinkSync(victim, path.join(out, '_vtp', 'tmp'))
    const run = await runCli([command!, out, ...flags])
    expect([run.code, run.stderr]).toEqual([2, expect.stringMatching(/is a link: links inside an output/)])
    expect(readdirSync(victim)).toEqual(['thesis.txt'])
  })

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

const commitFile = (out: string, unit: number): string => path.join(out, '_vtp', 'commits', `0000${unit}.json`)
const damage = (file: string): void => {
  const bytes = readFileSync(file)
  bytes[bytes.length >> 1]! ^= 1
  writeFileSync(file, bytes)
}
/** Everything in a folder but some names, as text. */
function snapshot(out: string, but: RegExp): Record<string, string> {
  const entries = readdirSync(out, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const names = entries.map((entry) => path.relative(out, path.join(entry.parentPath, entry.name))).sort()
  const kept = names.filter((name) => !but.test(name))
  return Object.fromEntries(kept.map((name) => [name, readFileSync(path.join(out, name), 'base64')]))
}

describe('lost and damaged files', () => {
  const BREAK: [what: string, unit: number, act: (out: string) => void][] = [
    ['a part is lost', 1, (out) => rmSync(path.join(out, 'part-00001.arrow'))],
    ['a part is cut off', 1, (out) => writeFileSync(path.join(out, 'part-00001.arrow'), 'ARROW1')],
    ['a bit of a part is another', 2, (out) => damage(path.join(out, 'part-00002.arrow'))],
    ['the rejects are lost', 0, (out) => rmSync(path.join(out, '_rejects-00000.jsonl'))],
    ['a commit is damaged', 1, (out) => writeFileSync(commitFile(out, 1), '{"unit":')],
  ]

  it.each(BREAK)(
    '%s: --repair opens that unit again and nothing else; the next run makes it whole',
    async (what, unit, act) => {
      const out = copyRun(`broken ${what}`)
      act(out)
      const before = snapshot(out, /^_vtp\/(commits|repair)/)
      const repaired = await runCli(['verify', out, '--repair', '--json'])
      expect(repaired.code, repaired.stderr).toBe(1)
      expect(JSON.parse(repaired.stdout)).toMatchObject({ damaged: [unit], reopened: true, exitReason: 'check_failed' })
      expect(snapshot(out, /^_vtp\/(commits|repair)/)).toEqual(before)
      expect(readdirSync(path.join(out, '_vtp', 'commits'))).toHaveLength(2)
      const status = JSON.parse((await runCli(['status', out, '--json'])).stdout)
      expect(status).toMatchObject({ unitsDone: 2, complete: false, finalized: false })
      const next = await runCli(encode(`broken ${what}`))
      expect(next.code, next.stderr).toBe(0)
      expect(outputHashes(out)).toEqual(outputHashes(at('whole')))
      const verified = await runCli(['verify', out, '--json'])
      expect(JSON.parse(verified.stdout)).toMatchObject({ problems: [], exitReason: 'ok' })
      expect(existsSync(path.join(out, '_vtp', 'repair', `0000${unit}.json`))).toBe(false)
    },
  )

  it('status does not say done over a hole', async () => {
    const out = copyRun('hole')
    rmSync(path.join(out, 'part-00002.arrow'))
    const status = await runCli(['status', out])
    expect(status.stdout).toMatch(
      /files of 1 committed unit are missing or cut off \(2\): run `vtp verify .* --repair`/,
    )
    expect(status.stdout).not.toMatch(/done\n/)
    expect(JSON.parse((await runCli(['status', out, '--json'])).stdout)).toMatchObject({
      damaged: [2],
      complete: true,
      finalized: false,
    })
  })
})

describe('the kind of processor', () => {
  it('stands in plan, commits and manifest, and in no part', () => {
    const read = (name: string): { processor?: string; processors?: string[] } =>
      JSON.parse(readFileSync(at('whole', name), 'utf8'))
    const { processor } = read('_vtp/plan.json')
    expect(processor).toMatch(new RegExp(`^${process.arch} `))
    expect(read('_vtp/commits/00000.json').processor).toBe(processor)
    expect(read('_manifest.json').processors).toEqual([processor])
    expect(readFileSync(at('whole', 'part-00000.arrow')).includes(processor!)).toBe(false)
  })

  it('a worker of another kind is told, and refused by --same-processor', async () => {
    const out = copyRun('other processor')
    const plan = path.join(out, '_vtp', 'plan.json')
    writeFileSync(plan, readFileSync(plan, 'utf8').replace(/"processor":"[^"]*"/, '"processor":"x64 abacus"'))
    rmSync(commitFile(out, 1))
    const refused = await runCli(encode('other processor', '--same-processor'))
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringMatching(/another kind .*x64 abacus/)])
    expect(existsSync(commitFile(out, 1))).toBe(false)
    const told = await runCli(encode('other processor'))
    expect([told.code, told.stderr]).toEqual([0, expect.stringMatching(/x64 abacus\): the last bits .* may differ/)])
    expect(outputHashes(out)['part-00001.arrow']).toBe(outputHashes(at('whole'))['part-00001.arrow'])
  })
})

describe('every command that takes --units', () => {
  let dit: string
  beforeAll(async () => {
    dit = await randomDit(dir, 'tiny', vtpStyle({ hiddenSize: 32, depth: 1, numHeads: 2 }))
    writeFileSync(at('lines.txt'), 'one\ntwo\nthree\nfour\nfive\nsix\n')
  })
  const COMMANDS: [string, () => string[]][] = [
    ['encode', () => ['encode', photos, '--outputs', 'pixels', '--image-size', '16', '--max-bad', '1']],
    ['embed', () => ['embed', photos, '--max-bad', '1']],
    ['embed --text', () => ['embed', '--text', at('lines.txt')]],
    ['generate', () => ['generate', '--dit', dit, '--stats', 'none', '--num', '6', '--steps', '2']],
  ]

  it.each(COMMANDS)(
    '%s: does the units that are named, and refuses one that the plan does not have',
    async (name, args) => {
      const out = at(`units of ${name}`)
      const all = [...args(), '--out', out, '--shard-rows', '2', '--json']
      const one = await runCli([...all, '--units', '1'])
      expect(one.code, one.stderr).toBe(0)
      expect(JSON.parse(one.stdout)).toMatchObject({ units: 1, complete: false })
      expect(readdirSync(path.join(out, '_vtp', 'commits'))).toEqual(['00001.json'])
      const { unitsTotal } = JSON.parse(one.stdout)
      const before = snapshot(out, /^$/)
      for (const given of ['99', `0,${unitsTotal}`]) {
        const refused = await runCli([...all, '--units', given])
        expect([refused.code, refused.stdout]).toEqual([2, expect.stringContaining('no_such_unit')])
      }
      expect(snapshot(out, /^$/)).toEqual(before)
      const rest = await runCli([...all, '--units', `0,2-${unitsTotal - 1}`])
      expect(JSON.parse(rest.stdout)).toMatchObject({ complete: true, units: unitsTotal })
      const manifest = readFileSync(path.join(out, '_manifest.json'), 'utf8')
      rmSync(path.join(out, '_manifest.json'))
      expect((await runCli(['finalize', out])).code).toBe(0)
      expect(readFileSync(path.join(out, '_manifest.json'), 'utf8')).toBe(manifest)
      const gc = JSON.parse((await runCli(['gc', out, '--older-than', '0s', '--json'])).stdout)
      expect(gc).toMatchObject({ attempts: 0, files: 0, removed: [] })
      expect((await runCli(['verify', out])).code).toBe(0)
    },
  )

  it('a damaged and a lost image of a generation run are made again', async () => {
    const out = at('units of generate')
    const whole = outputHashes(out)
    damage(path.join(out, '000002.png'))
    rmSync(path.join(out, '000005.png'))
    const repaired = JSON.parse((await runCli(['verify', out, '--repair', '--json'])).stdout)
    expect(repaired).toMatchObject({ damaged: [1, 2], reopened: true })
    const args = ['generate', '--dit', dit, '--stats', 'none', '--num', '6', '--steps', '2', '--shard-rows', '2']
    const next = await runCli([...args, '--out', out])
    expect(next.code, next.stderr).toBe(0)
    expect(outputHashes(out)).toEqual(whole)
  })
})
