/**
 * A Python with the libraries of requirements.txt, in a virtual environment under node_modules/.cache that is
 * made once (about 15 seconds). INTEROP_PYTHON names another Python that has them already.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { repoRoot } from '../support/cli.js'

const run = promisify(execFile)
const requirements = path.join(repoRoot, 'test', 'interop', 'requirements.txt')
const cache = path.join(repoRoot, 'node_modules', '.cache', 'vtp-interop')

/** Prints what the environment depends on, and fails below the version that the libraries ask for. */
const DESCRIBE = 'import sys, venv, ensurepip; assert sys.version_info >= (3, 11); print(sys.base_prefix, sys.version)'

/** Runs a script of this folder and returns its standard output. */
export async function runPython(python: string, script: string, args: string[]): Promise<string> {
  const env: NodeJS.ProcessEnv = { ...process.env }
  // Nothing of another Python on this machine may take part.
  for (const name of Object.keys(env)) if (/^(PYTHON(PATH|HOME)|VIRTUAL_ENV)$/.test(name)) delete env[name]
  const file = path.join(repoRoot, 'test', 'interop', script)
  const { stdout } = await run(python, [file, ...args], { env, maxBuffer: 2 ** 28 })
  return stdout
}

/** The path of the Python; makes its environment if there is none. */
export async function interopPython(): Promise<string> {
  const given = process.env.INTEROP_PYTHON
  if (given) return given
  try {
    const { stdout } = await run('python3', ['-c', DESCRIBE])
    const hash = createHash('sha256').update(stdout).update(readFileSync(requirements)).digest('hex')
    const home = path.join(cache, hash.slice(0, 12))
    const python = path.join('bin', 'python')
    if (!existsSync(home)) await makeEnvironment(home, python)
    return path.join(home, python)
  } catch (error) {
    const advice =
      'These tests read shards with Python libraries: they need python3 (3.11 or newer, with venv) and its package ' +
      'index, or INTEROP_PYTHON, a Python that has test/interop/requirements.txt installed.'
    throw new Error(advice, { cause: error })
  }
}

/** Under a temporary name until it is complete: a second process, or a kill in between, does no harm. */
async function makeEnvironment(home: string, python: string): Promise<void> {
  const making = `${home}.tmp-${process.pid}`
  await mkdir(cache, { recursive: true })
  try {
    await run('python3', ['-m', 'venv', making])
    const install = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--only-binary', ':all:']
    await run(path.join(making, python), [...install, '--requirement', requirements])
    await rename(making, home).catch((error: unknown) => {
      if (!existsSync(home)) throw error
    })
  } finally {
    await rm(making, { recursive: true, force: true })
  }
}
