import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { tempDir } from '../../../test/support/cli.js'
import {
  COMMIT_A,
  COMMIT_B,
  gitSha1,
  type HubFile,
  type HubRepo,
  sha256,
  startHub,
} from '../../../test/support/hub-server.js'
import { VtpError } from '../../errors.js'
import { parseHubRef, type ResolveOptions, resolveHubModel } from './index.js'

const WEIGHTS = Buffer.alloc(300_000, 'weights of a model, ')
const CONFIG = Buffer.from('{"model_type":"vtp"}')
const FILES: Record<string, HubFile> = {
  'README.md': { bytes: Buffer.from('# a model') },
  'config.json': { bytes: CONFIG },
  'model.safetensors': { bytes: WEIGHTS, lfs: true },
  'optimizer.bin': { bytes: Buffer.alloc(5000, 7), lfs: true },
}

function repo(extra: Partial<HubRepo> = {}): HubRepo {
  return { name: 'org/net', files: FILES, revisions: { main: COMMIT_A, 'v1.0': COMMIT_B }, ...extra }
}

/** Options with a fresh cache, no waiting, and nothing from this machine's environment. */
function options(endpoint: string, extra: ResolveOptions = {}): ResolveOptions {
  return { cacheDir: tempDir(), endpoint, env: { HF_HOME: tempDir() }, retryDelayMs: 1, ...extra }
}

async function failure(promise: Promise<unknown>): Promise<VtpError> {
  const error = await promise.then(
    () => undefined,
    (e: unknown) => e,
  )
  expect(error).toBeInstanceOf(VtpError)
  return error as VtpError
}

describe('a download', () => {
  it('fills the standard cache layout with config and weights, and nothing else', async () => {
    const hub = await startHub(repo())
    const given = options(hub.endpoint)
    const folder = await resolveHubModel('org/net', given)
    const repoDir = path.join(given.cacheDir!, 'models--org--net')
    expect(folder).toBe(path.join(repoDir, 'snapshots', COMMIT_A))
    expect(readdirSync(folder).sort()).toEqual(['config.json', 'model.safetensors'])
    expect(readFileSync(path.join(folder, 'model.safetensors')).equals(WEIGHTS)).toBe(true)
    expect(readlinkSync(path.join(folder, 'model.safetensors'))).toBe(path.join('..', '..', 'blobs', sha256(WEIGHTS)))
    expect(readdirSync(path.join(repoDir, 'blobs')).sort()).toEqual([sha256(WEIGHTS), gitSha1(CONFIG)].sort())
    expect(readFileSync(path.join(repoDir, 'refs', 'main'), 'utf8')).toBe(COMMIT_A)
  })

  it("takes the files that the model's family needs, in folders and as pickles too, and none that lead elsewhere", async () => {
    const files = {
      'config.json': FILES['config.json']!,
      'pytorch_model.bin': { bytes: WEIGHTS, lfs: true },
      'onnx/model.onnx': { bytes: WEIGHTS, lfs: true },
      'a/../../b': { bytes: CONFIG },
    }
    const hub = await startHub(repo({ files }))
    const folder = await resolveHubModel('org/net', options(hub.endpoint))
    expect(readdirSync(folder).sort()).toEqual(['config.json', 'pytorch_model.bin'])
  })

  it('of a model that no family knows is refused before its weights come', async () => {
    const config = { bytes: Buffer.from('{"model_type":"resnet"}') }
    const hub = await startHub(repo({ files: { ...FILES, 'config.json': config } }))
    const error = await failure(resolveHubModel('org/net', options(hub.endpoint)))
    expect(error).toMatchObject({ code: 'wrong_architecture', exitCode: 2 })
    expect(hub.requests.some(({ path: asked }) => asked.includes('model.safetensors'))).toBe(false)
  })

  it('is not repeated for what is in the cache', async () => {
    const hub = await startHub(repo())
    const given = options(hub.endpoint)
    const first = await resolveHubModel('org/net', given)
    hub.requests.length = 0
    expect(await resolveHubModel('org/net', given)).toBe(first)
    expect(hub.requests.map((request) => request.path.split('?')[0])).toEqual(['/api/models/org/net/revision/main'])
  })

  it('follows a branch that has moved and keeps unchanged blobs', async () => {
    const hub = await startHub(repo())
    const given = options(hub.endpoint)
    await resolveHubModel('org/net', given)
    hub.requests.length = 0
    hub.setCommit('main', 'c'.repeat(40))
    expect(path.basename(await resolveHubModel('org/net', given))).toBe('c'.repeat(40))
    expect(hub.requests.filter((request) => request.server === 'cdn')).toEqual([])
  })

  it('takes a tag or a commit as revision; a cached commit needs no request at all', async () => {
    const hub = await startHub(repo())
    const given = options(hub.endpoint)
    expect(path.basename(await resolveHubModel('org/net@v1.0', given))).toBe(COMMIT_B)
    hub.requests.length = 0
    expect(path.basename(await resolveHubModel(`org/net@${COMMIT_B}`, given))).toBe(COMMIT_B)
    expect(hub.requests).toEqual([])
  })

  it('takes the shards that an index lists', async () => {
    const index = { weight_map: { a: 'model-00001-of-00002.safetensors', b: 'model-00002-of-00002.safetensors' } }
    const files: Record<string, HubFile> = {
      'config.json': { bytes: CONFIG },
      'model.safetensors.index.json': { bytes: Buffer.from(JSON.stringify(index)) },
      'model-00001-of-00002.safetensors': { bytes: Buffer.from('one'), lfs: true },
      'model-00002-of-00002.safetensors': { bytes: Buffer.from('two'), lfs: true },
      'other.safetensors': { bytes: Buffer.from('three'), lfs: true },
    }
    const hub = await startHub(repo({ files }))
    const folder = await resolveHubModel('org/net', options(hub.endpoint))
    expect(readdirSync(folder).sort()).toEqual(
      Object.keys(files)
        .filter((name) => !name.startsWith('other'))
        .sort(),
    )
  })

  it('tells its progress in bytes', async () => {
    const hub = await startHub(repo())
    const seen: number[] = []
    const onBytes: ResolveOptions['onBytes'] = ({ file, done, total }) => {
      if (file !== 'model.safetensors') return
      expect(total).toBe(WEIGHTS.length)
      seen.push(done)
    }
    await resolveHubModel('org/net', options(hub.endpoint, { onBytes }))
    expect(seen.at(-1)).toBe(WEIGHTS.length)
    expect(seen).toEqual([...seen].sort((a, b) => a - b))
  })
})

describe('a broken download', () => {
  const weightRequests = (hub: { requests: { server: string; range: string | undefined }[] }) =>
    hub.requests.filter((request) => request.server === 'cdn').map((request) => request.range)

  it('goes on where the connection was cut', async () => {
    const hub = await startHub(repo())
    hub.faults.push({ kind: 'cut', afterBytes: 100_000 })
    const notes: string[] = []
    const folder = await resolveHubModel('org/net', options(hub.endpoint, { onProgress: (line) => notes.push(line) }))
    expect(readFileSync(path.join(folder, 'model.safetensors')).equals(WEIGHTS)).toBe(true)
    const [first, second, ...more] = weightRequests(hub)
    expect(first).toBeUndefined()
    expect(second).toMatch(/^bytes=[1-9]\d*-$/)
    expect(more).toEqual([])
    expect(notes.join('\n')).toMatch(/model\.safetensors: .*resuming at \d+ of 300000 bytes/)
  })

  it('goes on where an earlier process has stopped', async () => {
    const hub = await startHub(repo())
    const given = options(hub.endpoint)
    const blobs = path.join(given.cacheDir!, 'models--org--net', 'blobs')
    mkdirSync(blobs, { recursive: true })
    writeFileSync(path.join(blobs, `${sha256(WEIGHTS)}.incomplete`), WEIGHTS.subarray(0, 123_456))
    const folder = await resolveHubModel('org/net', given)
    expect(weightRequests(hub)).toEqual(['bytes=123456-'])
    expect(readFileSync(path.join(folder, 'model.safetensors')).equals(WEIGHTS)).toBe(true)
    expect(readdirSync(blobs).filter((name) => /incomplete|claim/.test(name))).toEqual([])
  })

  it('starts over when the server takes no ranges', async () => {
    const hub = await startHub(repo())
    hub.faults.push({ kind: 'cut', afterBytes: 100_000 }, { kind: 'ignore-range' })
    const folder = await resolveHubModel('org/net', options(hub.endpoint))
    expect(readFileSync(path.join(folder, 'model.safetensors')).equals(WEIGHTS)).toBe(true)
  })

  it('gives up a connection that has fallen silent, and goes on', async () => {
    const hub = await startHub(repo())
    hub.faults.push({ kind: 'silence', afterBytes: 50_000 })
    const folder = await resolveHubModel('org/net', options(hub.endpoint, { stallMs: 200 }))
    expect(readFileSync(path.join(folder, 'model.safetensors')).equals(WEIGHTS)).toBe(true)
  })

  it('never keeps bytes that do not match their checksum', async () => {
    const hub = await startHub(repo())
    const given = options(hub.endpoint)
    hub.faults.push({ kind: 'damage' })
    await resolveHubModel('org/net', given)
    const again = options(hub.endpoint)
    hub.faults.push({ kind: 'damage' }, { kind: 'damage' })
    const error = await failure(resolveHubModel('org/net', again))
    expect(error.code).toBe('hub_integrity')
    const blobs = path.join(again.cacheDir!, 'models--org--net', 'blobs')
    expect(readdirSync(blobs)).toEqual([gitSha1(CONFIG)])
    expect(existsSync(path.join(again.cacheDir!, 'models--org--net', 'refs'))).toBe(false)
  })

  it('survives passing errors of the server', async () => {
    const hub = await startHub(repo())
    hub.faults.push({ kind: 'status', status: 503 }, { kind: 'status', status: 429 })
    await resolveHubModel('org/net', options(hub.endpoint))
    hub.faults.push(...Array.from({ length: 9 }, () => ({ kind: 'status' as const, status: 502 })))
    const error = await failure(resolveHubModel('org/net', options(hub.endpoint)))
    expect(error).toMatchObject({ code: 'hub_failed', exitCode: 3 })
    expect(error.message).toContain(`${hub.endpoint}/api/models/org/net`)
    expect(error.message).toContain('502')
  })

  it('ends at once on abort', async () => {
    const hub = await startHub(repo())
    hub.faults.push({ kind: 'silence', afterBytes: 1000 })
    const stop = new AbortController()
    const running = resolveHubModel(
      'org/net',
      options(hub.endpoint, { signal: stop.signal, onBytes: () => stop.abort(new Error('stop')) }),
    )
    await expect(running).rejects.toThrow('stop')
  })

  it('waits for another process, but not for a dead one', async () => {
    const hub = await startHub(repo())
    const given = options(hub.endpoint)
    const claim = path.join(given.cacheDir!, 'models--org--net', 'blobs', `${sha256(WEIGHTS)}.claim`)
    mkdirSync(claim, { recursive: true })
    writeFileSync(path.join(claim, 'claim-other'), '{"pid":1,"place":"elsewhere"}')
    const old = new Date(Date.now() - 120_000)
    utimesSync(path.join(claim, 'claim-other'), old, old)
    await resolveHubModel('org/net', given)
    const both = options(hub.endpoint)
    hub.requests.length = 0
    const folders = await Promise.all([resolveHubModel('org/net', both), resolveHubModel('org/net', both)])
    expect(new Set(folders).size).toBe(1)
    expect(weightRequests(hub)).toHaveLength(1)
  })
})

describe('access', () => {
  it('sends the token to the hub and never to the content network', async () => {
    const hub = await startHub(repo({ token: 'hf_right' }))
    await resolveHubModel('org/net', options(hub.endpoint, { token: 'hf_right' }))
    for (const request of hub.requests) {
      expect(request.authorization).toBe(request.server === 'hub' ? 'Bearer hf_right' : undefined)
    }
    expect(hub.requests.some((request) => request.server === 'cdn')).toBe(true)
  })

  it('reads HF_TOKEN, else the token file', async () => {
    const hub = await startHub(repo({ token: 'plain-token' }))
    await resolveHubModel('org/net', options(hub.endpoint, { env: { HF_TOKEN: 'plain-token' } }))
    const home = tempDir()
    writeFileSync(path.join(home, 'token'), 'plain-token\n')
    await resolveHubModel('org/net', options(hub.endpoint, { env: { HF_HOME: home } }))
  })

  it('says what a missing and a wrong token need, without showing one', async () => {
    const hub = await startHub(repo({ token: 'hf_right' }))
    const without = await failure(resolveHubModel('org/net', options(hub.endpoint)))
    expect(without.code).toBe('hub_unauthorized')
    expect(without.message).toMatch(new RegExp(`${hub.endpoint}/api/models/org/net/revision/main: status 401`))
    expect(without.suggestions.join()).toContain('needs HF_TOKEN')
    const wrong = await failure(resolveHubModel('org/net', options(hub.endpoint, { token: 'hf_wrong' })))
    expect(wrong.suggestions.join()).toContain('was not accepted')
    expect(JSON.stringify([wrong.message, wrong.suggestions])).not.toContain('hf_wrong')
  })

  it('says where to ask for access to a gated model', async () => {
    const hub = await startHub(repo({ gated: true }))
    const error = await failure(resolveHubModel('org/net', options(hub.endpoint)))
    expect(error.code).toBe('hub_forbidden')
    expect(error.message).toContain('403')
    expect(error.suggestions.join()).toContain(`${hub.endpoint}/org/net`)
  })

  it('tells a missing model, a missing revision and a model without weights that can be read apart', async () => {
    const hub = await startHub(repo())
    expect((await failure(resolveHubModel('org/nope', options(hub.endpoint)))).code).toBe('hub_not_found')
    const revision = await failure(resolveHubModel('org/net@nope', options(hub.endpoint)))
    expect(revision).toMatchObject({ code: 'hub_revision_missing', exitCode: 2 })
    expect(revision.message).toContain('"nope"')
    const other = await startHub(
      repo({ files: { 'config.json': FILES['config.json']!, 'flax_model.msgpack': { bytes: CONFIG } } }),
    )
    const error = await failure(resolveHubModel('org/net', options(other.endpoint)))
    expect(error.code).toBe('hub_no_checkpoint')
    expect(error.suggestions[0]).toContain('flax_model.msgpack')
  })
})

describe('without the network', () => {
  it('uses the cached copy when the hub does not answer, and says so', async () => {
    const hub = await startHub(repo())
    const notes: string[] = []
    const given = options(hub.endpoint, { onProgress: (line) => notes.push(line) })
    const folder = await resolveHubModel('org/net', given)
    await hub.stop()
    expect(await resolveHubModel('org/net', given)).toBe(folder)
    expect(notes.at(-1)).toMatch(/using the cached copy of org\/net/)
  })

  it('says the address when there is no copy', async () => {
    const hub = await startHub(repo())
    await hub.stop()
    const error = await failure(resolveHubModel('org/net', options(hub.endpoint)))
    expect(error).toMatchObject({ code: 'hub_unreachable', exitCode: 3 })
    expect(error.message).toContain(hub.endpoint)
    expect(error.message).toContain('ECONNREFUSED')
    expect(error.suggestions.join('\n')).toContain('vtp model pull org/net')
  })

  it('asks nobody with HF_HUB_OFFLINE, and uses only complete snapshots', async () => {
    const hub = await startHub(repo())
    const given = options(hub.endpoint)
    const folder = await resolveHubModel('org/net', given)
    hub.requests.length = 0
    const offline = { ...given, env: { HF_HUB_OFFLINE: '1' } }
    expect(await resolveHubModel('org/net', offline)).toBe(folder)
    expect((await failure(resolveHubModel('org/net@v1.0', offline))).code).toBe('hub_offline')
    expect((await failure(resolveHubModel('org/other', offline))).message).toContain(given.cacheDir!)
    expect(hub.requests).toEqual([])
  })
})

describe('verify', () => {
  it('finds a damaged file in the cache and replaces it', async () => {
    const hub = await startHub(repo())
    const given = options(hub.endpoint)
    const folder = await resolveHubModel('org/net', given)
    const file = path.join(folder, 'model.safetensors')
    const damaged = Buffer.from(WEIGHTS)
    damaged[1000] = 0
    writeFileSync(file, damaged)
    expect(lstatSync(file).isSymbolicLink()).toBe(true)
    await resolveHubModel('org/net', { ...given, verify: true })
    expect(readFileSync(file).equals(WEIGHTS)).toBe(true)
  })
})

describe('parseHubRef', () => {
  it('takes an id with an optional revision', () => {
    expect(parseHubRef('MiniMaxAI/VTP-Large-f16d64')).toEqual({
      repo: 'MiniMaxAI/VTP-Large-f16d64',
      revision: undefined,
    })
    expect(parseHubRef('a/b.c@refs/pr/1')).toEqual({ repo: 'a/b.c', revision: 'refs/pr/1' })
  })

  it('refuses what could leave the cache', () => {
    for (const ref of ['net', '../../net', 'a/..', 'a/b@../../x', 'a/b@', 'a/b/c', 'a--b/c', 'a/b@x//y/../z']) {
      expect(() => parseHubRef(ref)).toThrow(/is not a hub id/)
    }
  })
})
