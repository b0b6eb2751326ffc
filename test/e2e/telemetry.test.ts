/**
 * Nothing is written outside our folders and nothing is asked of the network. Both are looked at from outside, in
 * an empty home and by strace; ONNX Runtime with its telemetry on shows that they would be seen.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, watch } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { binPath, repoRoot, runCli, tempDir } from '../support/cli.js'
import { findProgram } from '../support/programs.js'

const photos = path.join(repoRoot, 'fixtures', 'images', 'things')
/** To a name server or a web server, by either family of addresses. */
const ASKS = /connect\(.*_port=htons\((53|443|80)\)/

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()
}

/** A home and a temporary folder of its own. */
function emptyHome(): { home: string; env: Record<string, string> } {
  const home = path.join(tempDir(), 'home')
  mkdirSync(home)
  return { home, env: { HOME: home, TMPDIR: home, VTP_CACHE: path.join(home, 'vtp cache'), XDG_CACHE_HOME: '' } }
}

/** Opens a session of the graph as any program would, and keeps it open. */
function withTelemetry(graph: string): string[] {
  const library = createRequire(import.meta.url).resolve('onnxruntime-node')
  const script = `require(${JSON.stringify(library)}).InferenceSession.create(${JSON.stringify(graph)}).then(() => setInterval(() => {}, 1e6))`
  return ['-e', script]
}

function traced(args: string[], trace: string, env: NodeJS.ProcessEnv): ChildProcess {
  const strace = findProgram(['strace'], { package: 'strace', why: 'Connections are seen by strace.' })
  const child = spawn(strace, ['-f', '-qq', '-e', 'trace=connect', '-o', trace, process.execPath, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'ignore'],
    detached: true,
  })
  onTestFinished(() => {
    // strace and what it runs are one group.
    if (child.exitCode === null) process.kill(-child.pid!, 'SIGKILL')
  })
  return child
}

/** Resolves when the file has text that matches. */
async function untilFileHas(file: string, pattern: RegExp): Promise<void> {
  const has = (): boolean => existsSync(file) && pattern.test(readFileSync(file, 'utf8'))
  const watcher = watch(path.dirname(file))
  while (!has()) await once(watcher, 'change')
  watcher.close()
}

it('encode writes its output and its cache, and the page asks nothing of the network', async () => {
  const ours = emptyHome()
  const work = tempDir()
  const { code, stderr } = await runCli(['embed', photos, '--out', path.join(work, 'out')], { env: ours.env })
  expect(code, stderr).toBe(0)
  expect(readdirSync(ours.home)).toEqual(['vtp cache'])
  const index = path.join(work, 'an.index')
  const built = await runCli(['index', path.join(work, 'out'), '--out', index], { env: ours.env })
  expect(built.code, built.stderr).toBe(0)

  const theirs = emptyHome()
  const graphs = path.join(ours.env.VTP_CACHE!, 'graphs')
  const graph = filesBelow(graphs).find((name) => name.endsWith('.onnx'))!
  const [seen, unseen] = [path.join(tempDir(), 'trace'), path.join(tempDir(), 'trace')]
  const page = traced([binPath, 'serve', index, '--port', '0'], unseen, ours.env)
  await once(page.stdout!, 'data')
  // The same time for both: the library with its telemetry on has looked for its collector.
  traced(withTelemetry(path.join(graphs, graph)), seen, { ...theirs.env, ORT_DISABLE_TELEMETRY: '0' })
  await untilFileHas(seen, ASKS)
  expect(filesBelow(theirs.home).join()).toContain('onnxruntime.db')
  expect(readFileSync(unseen, 'utf8')).not.toMatch(ASKS)
  expect(readdirSync(ours.home)).toEqual(['vtp cache'])
})
