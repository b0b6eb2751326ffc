/** Standard output and error on a full disk or a closed pipe: one message, an exit code, never a loop. */
import { spawn, spawnSync } from 'node:child_process'
import { closeSync, openSync, statSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { binPath, repoRoot, tempDir } from '../support/cli.js'

const photos = path.join(repoRoot, 'fixtures', 'images', 'things')
const FULL = 'Error: Standard output cannot be written: ENOSPC'

/** Runs with the device that is always full as stdout or stderr; a loop ends by SIGKILL. */
function onFullDisk(which: 'stdout' | 'stderr', args: string[]) {
  const full = openSync('/dev/full', 'w')
  try {
    return spawnSync(process.execPath, [binPath, ...args], {
      stdio: which === 'stdout' ? ['ignore', full, 'pipe'] : ['ignore', 'pipe', full],
      encoding: 'utf8',
      timeout: 60_000,
      killSignal: 'SIGKILL',
    })
  } finally {
    closeSync(full)
  }
}

describe('a full disk', () => {
  const commands = [
    ['--version'],
    ['--help'],
    ['encode', '--help'],
    ['doctor', '--json'],
    ['model', 'info', 'nano'],
    ['encode', photos, '--json', '--out'],
  ]
  it.each(commands.map((args) => ({ args, name: args.slice(0, 2).join(' ') })))(
    'under stdout is said once: $name',
    ({ args }) => {
      const { status, stderr } = onFullDisk('stdout', args.at(-1) === '--out' ? [...args, tempDir()] : args)
      expect(status, stderr).toBe(3)
      expect(stderr.match(/^Error: .*$/gm)).toEqual([expect.stringContaining(FULL)])
    },
  )

  it('under stderr lets the work be done and shows in the exit code', () => {
    const out = path.join(tempDir(), 'out')
    expect(onFullDisk('stderr', ['encode', photos, '--out', out]).status).toBe(3)
    expect(statSync(path.join(out, '_manifest.json')).isFile()).toBe(true)
    expect(onFullDisk('stderr', ['encod']).status).toBe(2)
  })

  it('that fills up in the middle of a text is no success', () => {
    const file = path.join(tempDir(), 'text')
    const run = 'ulimit -f 2; exec "$0" "$@" >"$FILE"'
    const { status, stderr } = spawnSync('bash', ['-c', run, process.execPath, binPath, 'encode', '--help'], {
      env: { ...process.env, FILE: file },
      encoding: 'utf8',
    })
    expect(status).toBe(3)
    expect(stderr).toContain('Error: Standard output cannot be written: EFBIG')
    expect(statSync(file).size).toBe(2048)
  })
})

it('a reader that has gone ends the program without noise', async () => {
  for (const args of [['model', 'info', 'nano'], ['encode', '--help'], ['doctor']]) {
    const child = spawn(process.execPath, [binPath, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    let stderr = ''
    child.stderr.on('data', (chunk) => {
      stderr += chunk
    })
    child.stdout.destroy()
    const code = await new Promise((resolve) => child.on('close', resolve))
    expect([args, code, stderr]).toEqual([args, 0, ''])
  }
})
