import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, it } from 'vitest'
import { DIT_SIZES, type DitConfig } from '../../model/lightningdit/config.js'
import { launchFiles } from './scripts.js'

it('launch.sh takes a LIGHTNINGDIT that is relative to where it is called', () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'vtp launch '))
  try {
    for (const folder of ['clone', 'export', 'bin']) mkdirSync(path.join(dir, folder))
    const config = { ...Object.values(DIT_SIZES)[0]!, mlpRatio: 4, learnSigma: false } as DitConfig
    const script = launchFiles(config, { step: 0, notes: [] }).get('launch.sh')!
    writeFileSync(path.join(dir, 'export', 'launch.sh'), script)
    writeFileSync(path.join(dir, 'bin', 'torchrun'), '#!/bin/sh\necho "$LIGHTNINGDIT"\n', { mode: 0o755 })
    const env = { PATH: `${path.join(dir, 'bin')}:${process.env.PATH}`, LIGHTNINGDIT: 'clone' }
    const seen = execFileSync('bash', ['export/launch.sh'], { cwd: dir, env, encoding: 'utf8' })
    expect(path.basename(seen.trim())).toBe('clone')
    expect(path.isAbsolute(seen.trim())).toBe(true)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})
