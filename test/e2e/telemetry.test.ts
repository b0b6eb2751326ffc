/**
 * Nothing is written outside our folders and nothing is asked of the network. Both are looked at from outside, in
 * an empty home and by strace. Two controls show that they would be seen: ONNX Runtime with its telemetry on keeps
 * its events in the home before it sends them, and a program that connects is in the trace.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { expect, it, onTestFinished } from 'vitest'
import { binPath, repoRoot, runCli, tempDir } from '../support/cli.js'
import { findProgram } from '../support/programs.js'

const photos = path.join(repoRoot, 'fixtures', 'images', 'things')
/** By either family of addresses, to any port: a proxy has its own. */
const ASKS = /connect\(.*AF_INET6?,/
/** An address that is kept for documentation (RFC 5737): nobody answers. */
const CONNECTS = "require('net').connect(443, '192.0.2.1').on('error', () => {}).unref()"

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

/**
 * The program in a process group of its own, which ends with the test. It gets no environment but this one: where a
 * variable says that it is a build server (CI, GITHUB_ACTIONS), ONNX Runtime keeps no events, and the control never
 * ends.
 */
function start(program: string, args: string[], env: NodeJS.ProcessEnv): ChildProcess {
  const child = spawn(program, args, {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  })
  onTestFinished(() => {
    if (child.exitCode === null) process.kill(-child.pid!, 'SIGKILL')
  })
  return child
}

/** What strace is given before the program, or nothing where this machine lets no process trace another. */
function tracer(trace: string): string[] {
  const strace = findProgram(['strace'], { package: 'strace', why: 'Connections are seen by strace.' })
  const command = [strace, '-f', '-qq', '-e', 'trace=connect', '-o', trace]
  const control = spawnSync(strace, [...command.slice(1), process.execPath, '-e', CONNECTS], { encoding: 'utf8' })
  if (/PTRACE|ptrace/.test(control.stderr)) return []
  expect(control.status, control.stderr).toBe(0)
  expect(readFileSync(trace, 'utf8')).toMatch(ASKS)
  return command
}

/** Resolves when the folder has a file of that name, at any depth; rejects when the program ends before. */
async function untilThere(folder: string, name: string, child: ChildProcess): Promise<void> {
  while (!filesBelow(folder).join().includes(name)) {
    if (child.exitCode !== null) throw new Error(`The program ended with ${child.exitCode}.`)
    await setTimeout(50)
  }
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
  const trace = path.join(tempDir(), 'trace')
  const [program, ...before] = [...tracer(trace), process.execPath]
  const page = start(program!, [...before, binPath, 'serve', index, '--port', '0'], ours.env)
  const ended = once(page, 'exit').then(([code]) => Promise.reject(new Error(`serve ended with ${code}`)))
  await Promise.race([once(page.stdout!, 'data'), ended])
  const control = start(process.execPath, withTelemetry(path.join(graphs, graph)), {
    ...theirs.env,
    ORT_DISABLE_TELEMETRY: '0',
  })
  await untilThere(theirs.home, 'onnxruntime.db', control)
  if (before.length > 0) expect(readFileSync(trace, 'utf8')).not.toMatch(ASKS)
  expect(readdirSync(ours.home)).toEqual(['vtp cache'])
})
