/** No command leaves a file open: collecting such a handle is an error in later versions of Node. */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { binPath, repoRoot, tempDir } from '../support/cli.js'

const images = path.join(repoRoot, 'fixtures', 'images', 'things')
const watcher = path.join(repoRoot, 'test', 'support', 'open-handles.cjs')

function run(...args: string[]): string {
  const { status, stderr } = spawnSync(process.execPath, ['--require', watcher, binPath, ...args], { encoding: 'utf8' })
  expect(status, stderr).toBe(0)
  return stderr
}

it('is seen where it is so', () => {
  const script = `require(${JSON.stringify(watcher)}); require('node:fs/promises').open(${JSON.stringify(watcher)})`
  expect(spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' }).stderr).toContain('still open')
})

it('classify, embed, index, search, decode and the evaluations close what they open', () => {
  const work = tempDir()
  const labels = path.join(work, 'labels.txt')
  writeFileSync(labels, 'a cup\na rocket\n')
  const [embeddings, index] = [path.join(work, 'embeddings'), path.join(work, 'an.index')]
  for (const args of [
    ['classify', images, '--labels', labels, '--json'],
    ['embed', images, '--out', embeddings],
    ['index', embeddings, '--out', index],
    ['search', index, 'a cup'],
    ['decode', path.join(images, 'coffee.webp'), '--out', path.join(work, 'coffee.png')],
    ['eval-recon', images, '--metrics', 'psnr'],
    ['model', 'info', 'nano'],
  ])
    expect([args[0], run(...args)]).toEqual([args[0], expect.not.stringContaining('still open')])
})
