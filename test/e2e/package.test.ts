/** The package as npm installs it: an empty project gets the tarball, without install scripts, and uses it. */
import { execFile } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, it } from 'vitest'
import { repoRoot, sharedTempDir } from '../support/cli.js'

const project = sharedTempDir()

/** Runs a program in the project, as a user would there: without the settings of the test runner. */
async function run(command: string, args: string[], cwd = project): Promise<string> {
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(VITEST|NODE_OPTIONS|npm_)/.test(name)),
  )
  return (await promisify(execFile)(command, args, { cwd, env, timeout: 240_000, maxBuffer: 2 ** 24 })).stdout
}

beforeAll(async () => {
  // The build is there: the tests are of it.
  await run('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', project], repoRoot)
  const { version } = JSON.parse(readFileSync(path.join(repoRoot, 'package.json'), 'utf8')) as { version: string }
  writeFileSync(path.join(project, 'package.json'), JSON.stringify({ private: true, type: 'module' }))
  const flags = ['--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund', '--silent']
  await run('npm', ['install', ...flags, `./vtp-${version}.tgz`])
  mkdirSync(path.join(project, 'photos'))
  cpSync(path.join(repoRoot, 'fixtures', 'images', 'things'), path.join(project, 'photos', 'things'), {
    recursive: true,
  })
}, 300_000)

describe('the installed package', () => {
  it('is imported, also without a file of its own', async () => {
    const names = JSON.parse(
      await run('node', ['-e', "import('vtp').then((m) => console.log(JSON.stringify(Object.keys(m))))"]),
    )
    for (const name of [
      'openModel',
      'encode',
      'embed',
      'openShards',
      'openIndex',
      'evaluateReconstruction',
      'evaluateProbe',
      'evaluateZeroShot',
      'fid',
      'generate',
      'VtpError',
    ])
      expect(names).toContain(name)
  })

  it('runs the example of docs/api.md', async () => {
    const page = readFileSync(path.join(repoRoot, 'docs', 'api.md'), 'utf8')
    const example = /```js\n([\s\S]*?)```/.exec(page)![1]!
    expect(example.trim().split('\n').length).toBeLessThanOrEqual(12)
    writeFileSync(path.join(project, 'example.js'), example)
    const lines = (await run('node', ['example.js'])).trim().split('\n')
    expect(lines[0]).toMatch(/^vtp-nano \[ 'latents', 'clip'/)
    expect(lines[1]).toMatch(/^\d+ images became rows; rejects: {}$/)
    expect(lines.at(-1)).toMatch(/^things\/.+ 0 16384$/)
  })

  it('brings the command, its model and its manifest', async () => {
    await run('npx', ['--no-install', 'vtp', 'encode', 'photos', '--out', 'by-command'])
    expect(existsSync(path.join(project, 'by-command', 'part-00000.arrow'))).toBe(true)
    expect(existsSync(path.join(project, 'node_modules', 'vtp', 'oclif.manifest.json'))).toBe(true)
  })

  it('has type declarations that need no library of ours', () => {
    const types = path.join(project, 'node_modules', 'vtp', 'dist', 'index.d.ts')
    expect(readFileSync(types, 'utf8')).toContain('export declare function encode(options: EncodeOptions)')
  })
})
