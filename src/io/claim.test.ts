import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { tempDir } from '../../test/support/cli.js'
import { claimFolder, claimIfFree } from './claim.js'

const claims = (dir: string): string[] => readdirSync(dir).filter((name) => name.startsWith('claim-'))
/** No process has this number. */
const DEAD = 2 ** 30

/** A claim of another process: this one's, but for what is given. */
async function leaveClaim(dir: string, other: Record<string, unknown>, secondsAgo = 0): Promise<string> {
  const model = path.join(dir, 'model')
  const own = await claimFolder(model, 'model')
  const text = readFileSync(path.join(model, claims(model)[0]!), 'utf8')
  await own.release()
  const file = path.join(dir, 'claim-other')
  writeFileSync(file, JSON.stringify({ ...JSON.parse(text), ...other }))
  utimesSync(file, new Date(), new Date(Date.now() - secondsAgo * 1000))
  return file
}

describe('a folder', () => {
  it('is had by one of many that want it at once, and by the next when it is released', async () => {
    const dir = path.join(tempDir(), 'work')
    let holders = 0
    let turns = 0
    const worker = async (): Promise<void> => {
      for (let mine = 0; mine < 3; ) {
        const claim = await claimIfFree(dir)
        if (!claim) continue
        expect(++holders).toBe(1)
        await claim.assertHeld()
        turns++
        mine++
        holders--
        await claim.release()
      }
    }
    await Promise.all([worker(), worker(), worker()])
    expect(turns).toBe(9)
    expect(claims(dir)).toEqual([])
  })

  it('that a living process has is refused, by its number', async () => {
    const dir = tempDir()
    const child = spawn('sleep', ['60'])
    await once(child, 'spawn')
    try {
      const stat = readFileSync(`/proc/${child.pid}/stat`, 'utf8')
      const started = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
      await leaveClaim(dir, { pid: child.pid, started })
      await expect(claimFolder(dir, '--out X')).rejects.toMatchObject({
        code: 'in_use',
        exitCode: 3,
        message: expect.stringMatching(new RegExp(`Another process works on --out X: process ${child.pid} on `)),
      })
    } finally {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
    await (await claimFolder(dir, 'x')).release()
    expect(claims(dir)).toEqual([])
  })

  it.each([
    ['whose process is dead', { pid: DEAD }, 0],
    ['whose process number another process has now', { pid: process.pid, started: '1' }, 0],
    ['of another machine or container, silent for long', { place: 'elsewhere' }, 120],
    ['that cannot be read, silent for long', { pid: 'x' }, 120],
  ])('with a claim %s is taken over', async (_, other, secondsAgo) => {
    const dir = tempDir()
    await leaveClaim(dir, other, secondsAgo)
    const claim = await claimFolder(dir, 'x')
    expect(claims(dir)).toHaveLength(1)
    expect(existsSync(path.join(dir, 'claim-other'))).toBe(false)
    await claim.release()
  })

  it('with a claim of a container whose process has the same number is not free', async () => {
    const dir = tempDir()
    await leaveClaim(dir, { place: 'another container' })
    expect(await claimIfFree(dir)).toBeUndefined()
    expect(claims(dir)).toEqual(['claim-other'])
  })

  it('whose other owner gives a sign of life is refused after the wait for it, and one that goes leaves it', async () => {
    const dir = tempDir()
    const file = await leaveClaim(dir, { place: 'another container' })
    const notes: string[] = []
    const onNote = (line: string): void => {
      notes.push(line)
      utimesSync(file, new Date(), new Date(Date.now() + 1000))
    }
    await expect(claimFolder(dir, 'it', { onNote })).rejects.toMatchObject({ code: 'in_use' })
    expect(notes[0]).toMatch(/^process \d+ on .* has it; waiting up to 60 s/)
  })

  it('that was taken from a process says so when that looks', async () => {
    const dir = path.join(tempDir(), 'work')
    mkdirSync(dir)
    const claim = await claimFolder(dir, 'x')
    await claim.assertHeld()
    rmSync(path.join(dir, claims(dir)[0]!))
    await expect(claim.assertHeld()).rejects.toMatchObject({ code: 'claim_lost' })
    await claim.release()
  })
})
