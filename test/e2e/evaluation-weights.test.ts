/** Where the networks of metrics come from, and what is refused. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { goldenPath } from '../golden.js'
import { runCli, tempDir } from '../support/cli.js'

const golden = (...parts: string[]): string => goldenPath('metrics', ...parts)

/** The object that `--json` prints. */
async function json(args: string[], env: Record<string, string> = {}, code = 0) {
  const result = await runCli([...args, '--json'], { env })
  expect(result.code, result.stderr + result.stdout).toBe(code)
  return JSON.parse(result.stdout)
}

describe('weights', () => {
  let server: Server
  let requests = 0
  beforeAll(async () => {
    server = createServer((_, response) => {
      requests++
      response.end('not the file')
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  })
  afterAll(() => server.close())
  const env = (): Record<string, string> => ({
    VTP_WEIGHTS_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}/weights`,
    VTP_CACHE: tempDir(),
    TORCH_HOME: tempDir(),
  })

  it('nothing is downloaded for a folder that is missing or empty, or for statistics of another width', async () => {
    const [settings, empty, before] = [env(), tempDir(), requests]
    for (const [a, b] of [
      [golden('fid_ref'), 'no such folder'],
      ['no such folder', golden('fid_ref')],
      [golden('fid_ref'), empty],
    ] as const) {
      const refused = await json(['fid', a, b], settings, 2)
      expect(refused.error.message).toMatch(/no such folder does not exist|holds no images/)
    }
    const recon = await json(['eval-recon', empty], settings, 2)
    expect(recon.error.code).toBe('no_images')
    const width = await json(['fid', golden('ref_stats_dims64.npz'), golden('fid_ref')], settings, 2)
    expect(width.error.message).toMatch(/64 and 2048 dimensions/)
    expect(requests).toBe(before)
  })

  it('a download that is not the known file is refused and not kept', async () => {
    const settings = env()
    const result = await json(['fid', golden('fid_ref'), golden('fid_rec')], settings, 3)
    expect(result.error.code).toBe('weights_corrupt')
    expect(requests).toBe(1)
    expect(readdirSync(path.join(settings.VTP_CACHE!, 'weights'))).toEqual([])
  })

  it('without a network the message names the address and what to do', async () => {
    const settings = { ...env(), VTP_WEIGHTS_URL: 'http://127.0.0.1:9/closed' }
    const result = await json(['fid', golden('fid_ref'), golden('fid_rec')], settings, 3)
    expect(result.error.code).toBe('weights_missing')
    expect(result.error.message).toContain('127.0.0.1:9/closed/pt_inception-2015-12-05-6726825d.pth')
    expect(result.error.suggestions.join(' ')).toContain('--weights')
  })

  it('a hostile file in --weights is refused by name', async () => {
    const hostile = tempDir()
    writeFileSync(
      path.join(hostile, 'pt_inception-2015-12-05-6726825d.pth'),
      readFileSync(golden('pth', 'malicious_zip.pth')),
    )
    const result = await json(['fid', golden('fid_ref'), golden('fid_rec'), '--weights', hostile], {}, 3)
    expect(result.error.code).toBe('unsafe_pickle')
    expect(existsSync('PWNED_BY_PICKLE')).toBe(false)
  })
})
