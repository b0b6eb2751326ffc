/**
 * Kills commands (-9) at random moments, runs each again until it ends, and compares what it leaves with an undisturbed
 * run: every file outside `_vtp/` byte for byte (times in logs apart), the object of `--json` without its times, and
 * the names of all files there are: the output folder's, the cache's and those of the temporary folder. What differs
 * is printed and kept.
 *
 *   npx tsx test/trials/kills.ts [KILLS] [COMMAND…]
 *
 * Prints one line per command and exits with 1 when anything differs. VTP_TEST_SEED draws the same moments again.
 */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type CliResult, runCli } from '../support/cli.js'
import { random } from '../support/random.js'
import { hubOfNano, type KillJob, makeJobs } from './kills/jobs.js'

/** As many in a row on one folder, so that some come late in the work. */
const KILLS_PER_FOLDER = 5
const TIMES = /"(seconds|imagesPerSecond|peakMemoryBytes)": ?([\d.e+-]+|\{[^{}]*\})/g
/** What may differ: how often units were started, and what a run says of its own part of the work. */
const COURSE = /^_vtp\/attempts\/|^node-compile-cache/
const COURSE_JSON = /"(resumedImages|keptImages|newImages|newSteps|added|bottleneck)":[^,}]+,?/g

const [countText = '30', ...only] = process.argv.slice(2)
const kills = Number(countText)
const dir = mkdtempSync(path.join(tmpdir(), 'vtp-kills-'))

function filesBelow(folder: string): string[] {
  if (!existsSync(folder)) return []
  const all = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => !entry.isDirectory())
  return all.map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name))).sort()
}

/** Everything that must be the same, as lines. */
function traces(place: Place, result: CliResult): string[] {
  const { out, cache, temporary } = place
  const contents = (name: string): string => {
    if (name.startsWith('_vtp/')) return ''
    const bytes = readFileSync(path.join(out, name))
    const text = /\.jsonl?$/.test(name) ? bytes.toString().replaceAll(out, 'OUT').replace(TIMES, '') : bytes
    return createHash('sha256').update(text).digest('hex')
  }
  const kept = (folder: string): string[] => filesBelow(folder).filter((name) => !COURSE.test(name))
  const json = JSON.stringify(JSON.parse(result.stdout.replaceAll(out, 'OUT')))
  return [
    ...kept(out).map((name) => `${name} ${contents(name)}`),
    ...kept(cache).map((name) => `cache: ${name}`),
    ...kept(temporary).map((name) => `temporary: ${name}`),
    `json: ${json.replace(TIMES, '').replace(COURSE_JSON, '')}`,
  ]
}

interface Place {
  out: string
  cache: string
  temporary: string
}

function makePlace(cache: string): Place {
  const root = mkdtempSync(path.join(dir, 'run-'))
  const place = { out: path.join(root, 'out'), cache, temporary: path.join(root, 'tmp') }
  mkdirSync(place.temporary)
  return place
}

/** One run; killed after `killAfterMs` where that is given and it still runs. */
function run(job: KillJob, place: Place, killAfterMs?: number): Promise<CliResult> {
  const tail = job.args[0] === 'finalize' ? [place.out] : job.env ? [] : ['--out', place.out]
  const env = { VTP_CACHE: place.cache, TMPDIR: place.temporary, ...job.env?.(place.out) }
  return runCli([...job.args, ...tail, '--json'], {
    env,
    onSpawn: (child) => {
      if (killAfterMs !== undefined) void sleep(killAfterMs).then(() => child.kill('SIGKILL'))
    },
  })
}

async function ended(job: KillJob, place: Place): Promise<string[]> {
  const result = await run(job, place)
  if (result.code !== 0) return [`exit ${result.code}: ${result.stderr.slice(-600)}`]
  return traces(place, result)
}

async function trial(name: string, job: KillJob): Promise<boolean> {
  const cache = path.join(dir, `cache of ${name}`)
  const undisturbed = async (): Promise<[string[], number]> => {
    const place = makePlace(cache)
    job.begin?.(place.out)
    const began = performance.now()
    return [await ended(job, place), performance.now() - began]
  }
  await undisturbed() // fills the cache
  const [expected, wholeMs] = await undisturbed()
  let [done, folders, wrong] = [0, 0, 0]
  while (done < kills) {
    const place = makePlace(cache)
    job.begin?.(place.out)
    for (let i = 0; i < KILLS_PER_FOLDER && done < kills; i++) {
      const killed = await run(job, place, random() * wholeMs)
      if (killed.signal === 'SIGKILL') done++
      else if (killed.code !== 0) console.log(`${name}: exit ${killed.code}: ${killed.stderr.slice(-600)}`)
    }
    folders++
    const found = await ended(job, place)
    const differing = [
      ...found.filter((line) => !expected.includes(line)),
      ...expected.filter((line) => !found.includes(line)).map((line) => `missing: ${line}`),
    ]
    if (differing.length > 0) {
      wrong++
      console.log(`${name} in ${place.out}, folder ${folders}:\n  ${differing.slice(0, 12).join('\n  ')}`)
    } else rmSync(path.dirname(place.out), { recursive: true, force: true })
  }
  console.log(`${name}: ${done} kills in ${folders} folders, ${folders - wrong} identical, ${wrong} not`)
  return wrong === 0
}

const hub = await hubOfNano()
try {
  const jobs = Object.entries(await makeJobs(dir, hub)).filter(([name]) => only.length === 0 || only.includes(name))
  let right = true
  for (const [name, job] of jobs) right = (await trial(name, job)) && right
  process.exitCode = right ? 0 : 1
} finally {
  await hub.stop()
  if (process.exitCode === 0) rmSync(dir, { recursive: true, force: true })
}
