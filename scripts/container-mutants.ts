/**
 * Reads damaged containers by the thousand, as sources and as files of tensors, and prints what became of them. A child
 * process reads them one after the other and says which; the parent sees to it that it neither dies nor hangs. Exits
 * with 1 for a death, a hang, a file outside the scratch folder, or an error that is not one of ours.
 *
 *   npx tsx scripts/container-mutants.ts [--count 10000] [--seed 1] [--only NUMBER]
 */
import { type ChildProcess, fork } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { VtpError } from '../src/errors.js'
import { openSource } from '../src/io/sources/index.js'
import { openTensorFile } from '../src/io/tensor-file.js'
import { RejectError } from '../src/types.js'
import { type ContainerMutant, createContainerMutants } from '../test/support/container-mutants.js'

/** A container of a few kilobytes is read in milliseconds. */
const HANG_MS = 60_000
/** Rows that are read of one file. */
const MAX_READS = 50

const { values } = parseArgs({
  allowPositionals: true,
  options: {
    count: { type: 'string', default: '10000' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string' },
  },
})
const [count, seed] = [Number(values.count), Number(values.seed)]

/** What a mutant came to: its rows or tensors, or the code of our error. Throws what is no error of ours. */
async function readMutant(file: string, { container }: ContainerMutant): Promise<string> {
  try {
    if (container === 'safetensors' || container === 'pt' || container === 'npz') await readTensors(file)
    if (container !== 'safetensors' && container !== 'pt') await readSource(file)
    return 'read'
  } catch (error) {
    if (error instanceof VtpError || error instanceof RejectError) return error.code
    throw error
  }
}

async function readTensors(file: string): Promise<void> {
  const opened = await openTensorFile(file)
  try {
    for (const name of [...opened.shapes.keys()].slice(0, MAX_READS)) await opened.readFloat32(name)
  } finally {
    await opened.close()
  }
}

async function readSource(file: string): Promise<void> {
  const source = await openSource(file, { metadata: true, maxBytes: 2 ** 22 })
  try {
    let reads = 0
    for await (const entry of source.list()) {
      const { at } = entry
      // Addresses of other machines are not asked for; nothing but this file is.
      if (at.kind === 'bad' || ('path' in at && at.path !== file) || ++reads > MAX_READS) continue
      await source.read(entry).catch((error: unknown) => {
        if (!(error instanceof RejectError)) throw error
      })
    }
  } finally {
    await source.close()
  }
}

interface Report {
  number: number
  outcome?: string
  failure?: string
}

async function childMain(first: number, scratch: string): Promise<void> {
  const make = await createContainerMutants(seed)
  const end = values.only === undefined ? count : first + 1
  for (let number = first; number < end; number++) {
    const send = (rest: Omit<Report, 'number'>): void => void process.send?.({ number, ...rest })
    send({})
    const mutant = make(number)
    const file = path.join(scratch, 'in', `m.${mutant.container}`)
    writeFileSync(file, mutant.bytes)
    try {
      send({ outcome: `${mutant.container} ${await readMutant(file, mutant)}` })
    } catch (error) {
      send({ outcome: `${mutant.container} UNEXPECTED`, failure: (error as Error).stack ?? String(error) })
    }
  }
  process.disconnect?.()
}

async function parentMain(): Promise<void> {
  const scratch = mkdtempSync(path.join(tmpdir(), 'vtp-containers-'))
  for (const name of ['in', 'cwd', 'tmp']) mkdirSync(path.join(scratch, name))
  const outcomes = new Map<string, number>()
  const problems: string[] = []
  const began = performance.now()
  let next = values.only === undefined ? 0 : Number(values.only)
  const end = values.only === undefined ? count : next + 1
  while (next < end) {
    const args = [...process.argv.slice(2), '--', String(next), scratch]
    const env = { ...process.env, TMPDIR: path.join(scratch, 'tmp') }
    const child: ChildProcess = fork(fileURLToPath(import.meta.url), args, { cwd: path.join(scratch, 'cwd'), env })
    let timer: NodeJS.Timeout | undefined
    let hung = false
    let last = -1
    await new Promise<void>((resolve) => {
      child.on('message', (message) => {
        const { number, outcome, failure } = message as Report
        clearTimeout(timer)
        timer = setTimeout(() => {
          hung = true
          child.kill('SIGKILL')
        }, HANG_MS)
        last = number
        if (outcome) {
          next = number + 1
          outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
        }
        if (failure) problems.push(`mutant ${number}: ${failure}`)
      })
      child.on('close', (code, signal) => {
        clearTimeout(timer)
        if (last < 0) throw new Error(`the child ended (${signal ?? code}) before it read anything`)
        if (code !== 0) {
          problems.push(`mutant ${last}: ${hung ? 'HANG' : `DEATH (${signal ?? code})`}`)
          next = last + 1
        }
        resolve()
      })
    })
  }
  const left = [...readdirSync(path.join(scratch, 'cwd')), ...readdirSync(path.join(scratch, 'tmp'))]
  // tsx keeps a folder for its own use there.
  const foreign = left.filter((name) => !name.startsWith('tsx-') && name !== 'node-compile-cache')
  if (foreign.length > 0 || readdirSync(scratch).length !== 3) problems.push(`left-over files: ${foreign.join(', ')}`)
  console.log(`${count} damaged containers, seed ${seed}, ${((performance.now() - began) / 1000).toFixed(0)} s`)
  for (const [what, number] of [...outcomes].sort()) console.log(`  ${what.padEnd(36)} ${number}`)
  for (const problem of problems.slice(0, 40)) console.log(problem)
  console.log(problems.length === 0 ? 'no death, no hang, nothing outside' : `${problems.length} PROBLEMS`)
  rmSync(scratch, { recursive: true, force: true })
  process.exit(problems.length === 0 ? 0 : 1)
}

if (process.send) {
  const [first, scratch] = process.argv.slice(-2)
  await childMain(Number(first), scratch!)
} else {
  await parentMain()
}
