/** Damaged images: no death, no hang; each is one row or one reject. The same with 10,000: scripts/mutants.ts. */
import path from 'node:path'
import { expect, it } from 'vitest'
import { REJECT_CODES } from '../../src/types.js'
import { runCli, tempDir } from '../support/cli.js'
import { writeMutants } from '../support/mutants.js'
import { readRejects, readRows } from '../support/parts.js'

it('each of 500 damaged images becomes one row or one reject with a reason', async () => {
  const dir = tempDir()
  const names = await writeMutants(path.join(dir, 'in'), 500, 20261)
  const out = path.join(dir, 'out')
  const args = ['encode', path.join(dir, 'in'), '--out', out, '--outputs', 'pixels', '--max-bad', '100%']
  const run = await runCli(args, { timeoutMs: 120_000 })
  expect(run.stderr + run.code).toMatch(/0$/)
  const rows = (await readRows(out)).map((row) => row.key)
  const rejects = readRejects(out)
  expect(rows).toEqual(names.filter((name) => rows.includes(name)))
  expect([...rows, ...rejects.map((reject) => reject.key)].sort()).toEqual(names)
  // Some damage is harmless and some is not: a decoder that refused or passed everything would be wrong.
  expect(rows.length).toBeGreaterThan(50)
  expect(rejects.length).toBeGreaterThan(50)
  const codes = new Set(rejects.map((reject) => reject.code))
  for (const code of codes) expect(REJECT_CODES).toContain(code)
  expect(codes).not.toContain('crashed_decoder')
  expect(codes).not.toContain('decode_timeout')
})
