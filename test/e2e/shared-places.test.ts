/** Two processes at one place, places that cannot be written to, and what killed processes have left there. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { ownMark } from '../../src/io/owner.js'
import { binPath, repoRoot, runCli, tempDir } from '../support/cli.js'

const images = path.join(repoRoot, 'fixtures', 'images')
const UUID = '0b1c2d3e-0000-4000-8000-000000000001'
const temporaryIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.includes('.tmp-'))

async function embed(folder: string): Promise<string> {
  const out = path.join(tempDir(), 'embeddings')
  const { code, stderr } = await runCli(['embed', folder, '--out', out])
  expect(code, stderr).toBe(0)
  return out
}

it('builds of one index wait for each other: all that is appended at once is there', async () => {
  const [first, second] = [
    await embed(path.join(images, 'things')),
    await embed(path.join(images, 'people and animals')),
  ]
  const index = path.join(tempDir(), 'an.index')
  const manifest = () => JSON.parse(readFileSync(path.join(index, 'index.json'), 'utf8')) as { rows: number }
  const builds = await Promise.all([1, 2].map(() => runCli(['index', first, '--out', index])))
  for (const { code, stderr } of builds) expect(code, stderr).toBe(0)
  const { rows } = manifest()
  const third = await embed(path.join(images, 'textures and sky'))
  const appended = await Promise.all(
    [second, third, second].map((folder) => runCli(['index', folder, '--append', '--out', index])),
  )
  for (const { code, stderr } of appended) expect(code, stderr).toBe(0)
  const files = ['things', 'people and animals', 'textures and sky'].map(
    (name) => readdirSync(path.join(images, name)).length,
  )
  expect(rows).toBe(files[0])
  expect(manifest().rows).toBe(files[0]! + files[1]! + files[2]!)
  expect(readdirSync(index).filter((name) => /claim|tmp/.test(name))).toEqual([])
})

describe('the cache', () => {
  const source = path.join(images, 'things')

  it('is done without where it cannot be made, and one that was named must be right', async () => {
    const tmp = tempDir()
    const env = { HOME: '/dev/null', VTP_CACHE: '', XDG_CACHE_HOME: '', TMPDIR: tmp }
    const { code, stderr } = await runCli(['encode', source, '--out', path.join(tempDir(), 'out')], { env })
    expect(code, stderr).toBe(0)
    expect(stderr).toContain('VTP_CACHE names a folder for them')
    expect(readdirSync(tmp)).toEqual([])
    const named = await runCli(['encode', source, '--out', tempDir()], { env: { VTP_CACHE: '/dev/null/cache' } })
    expect(named.code).toBe(2)
    expect(named.stderr).toContain('Try: set VTP_CACHE to a folder that can be written to')
  })

  it('is filled by processes of one number at once, as containers have them', async () => {
    const unshare = ['unshare', '--user', '--map-root-user', '--pid', '--fork', '--mount-proc']
    const allowed = spawnSync(unshare[0]!, [...unshare.slice(1), 'true']).status === 0
    const [program, ...before] = allowed ? [...unshare, process.execPath] : [process.execPath]
    for (let round = 0; round < 2; round++) {
      const env = { ...process.env, VTP_CACHE: path.join(tempDir(), 'cache') }
      const ends = [1, 2].map(async () => {
        const args = [...before, binPath, 'encode', source, '--out', path.join(tempDir(), 'out'), '--workers', '1']
        const child = spawn(program!, args, { env, stdio: ['ignore', 'ignore', 'pipe'] })
        const [stderr, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')])
        return [code, /^Error.*/m.exec(stderr)?.[0]]
      })
      expect(await Promise.all(ends)).toEqual([
        [0, undefined],
        [0, undefined],
      ])
    }
  })

  it('and DEST lose what dead processes have left, and keep what may be in use', async () => {
    const [cache, out] = [path.join(tempDir(), 'cache'), path.join(tempDir(), 'out')]
    const dead = `tmp-${ownMark.replace(/\d+$/, String(spawnSync('true').pid))}-${UUID}`
    const other = `tmp-00000000-1-${UUID}`
    const env = { VTP_CACHE: cache }
    expect((await runCli(['encode', source, '--out', path.join(tempDir(), 'out')], { env })).code).toBe(0)
    const graphs = readdirSync(cache, { recursive: true, encoding: 'utf8' }).find((name) => name.endsWith('.weights'))!
    const folder = path.join(cache, path.dirname(graphs))
    for (const name of readdirSync(folder)) writeFileSync(path.join(folder, name), '')
    mkdirSync(path.join(out, '_vtp', 'tmp'), { recursive: true })
    for (const place of [folder, out, path.join(out, '_vtp', 'tmp')])
      for (const mark of [dead, other]) writeFileSync(path.join(place, `a.${mark}`), '')
    const { code, stderr } = await runCli(['encode', source, '--out', out], { env })
    expect(code, stderr).toBe(0)
    expect([...temporaryIn(cache), ...temporaryIn(out)].map((name) => path.basename(name))).toEqual(
      Array(3).fill(`a.${other}`),
    )
  })
})
