/** npm's s3rver: a store that ignores conditional writes. Installed once, outside the checkout. */
import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { clientEnv, freePort, waitForPort } from './s3-gateway.js'

const VERSION = '3.7.1'

async function install(): Promise<string> {
  const cache = path.join(process.env.XDG_CACHE_HOME || path.join(homedir(), '.cache'), 'vtp-test')
  const folder = path.join(cache, `s3rver-${VERSION}`)
  if (existsSync(folder)) return folder
  mkdirSync(cache, { recursive: true })
  const build = mkdtempSync(path.join(cache, 'build-'))
  try {
    writeFileSync(path.join(build, 'package.json'), '{"private":true}')
    const args = ['install', '--silent', '--ignore-scripts', '--no-audit', '--no-fund', `s3rver@${VERSION}`]
    await promisify(execFile)('npm', args, { cwd: build })
    if (!existsSync(folder)) renameSync(build, folder)
  } finally {
    rmSync(build, { recursive: true, force: true })
  }
  return folder
}

/** Starts the server with one bucket; its only credentials are S3RVER / S3RVER. */
export async function startS3rver(bucket: string): Promise<{ env: Record<string, string>; close(): Promise<void> }> {
  const folder = await install()
  const data = mkdtempSync(path.join(tmpdir(), 'vtp-s3rver-'))
  const port = await freePort()
  const script = path.join(folder, 'node_modules', 's3rver', 'bin', 's3rver.js')
  const args = [script, '--directory', data, '--port', String(port), '--address', '127.0.0.1', '--silent']
  const child = spawn(process.execPath, [...args, '--configure-bucket', bucket], { stdio: 'ignore' })
  await waitForPort(port, child)
  return {
    env: {
      ...clientEnv(`http://127.0.0.1:${port}`),
      AWS_ACCESS_KEY_ID: 'S3RVER',
      AWS_SECRET_ACCESS_KEY: 'S3RVER',
    },
    async close() {
      const ended = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGKILL')
      await ended
      rmSync(data, { recursive: true, force: true })
    },
  }
}
