import { copyFileSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { bundledModelFolder, openModel } from './index.js'

const root = mkdtempSync(path.join(tmpdir(), 'vtp-registry-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
const folder = (name: string): string => mkdtempSync(path.join(root, `${name}-`))
const code = (ref: string): Promise<string> =>
  openModel(ref).then(
    () => 'opened',
    (error: { code: string }) => error.code,
  )

describe('a checkpoint', () => {
  it('is opened by its folder, its config or its weights, and is the same model', async () => {
    const nano = bundledModelFolder()
    const refs = ['nano', nano, path.join(nano, 'config.json'), path.join(nano, 'model.safetensors')]
    const models = await Promise.all(refs.map((ref) => openModel(ref)))
    expect(new Set(models.map(({ digest }) => digest)).size).toBe(1)
    expect(models.map(({ family, name }) => `${family} ${name}`)).toEqual(Array(4).fill('vtp vtp-nano'))
    await Promise.all(models.map((model) => model.close()))
  })

  it('of an unknown architecture, without a configuration or without weights is told apart', async () => {
    const empty = folder('empty')
    expect(await code(empty)).toBe('model_incomplete')
    const other = folder('other')
    writeFileSync(path.join(other, 'config.json'), '{"model_type":"resnet"}')
    expect(await code(other)).toBe('wrong_architecture')
    await expect(openModel(other)).rejects.toThrow('"resnet"')
    const broken = folder('broken')
    writeFileSync(path.join(broken, 'config.json'), '{"model_type":')
    expect(await code(broken)).toBe('bad_config')
    const bare = folder('bare')
    copyFileSync(path.join(bundledModelFolder(), 'config.json'), path.join(bare, 'config.json'))
    expect(await code(bare)).toBe('model_incomplete')
    const file = path.join(folder('file'), 'notes.pth')
    writeFileSync(file, 'not a checkpoint')
    // What is wrong with it says more than that nobody knows it.
    expect(await code(file)).toBe('bad_torch_file')
  })

  it('is found through links, as the hub caches it', async () => {
    const linked = folder('linked')
    for (const name of ['config.json', 'model.safetensors'])
      symlinkSync(path.join(bundledModelFolder(), name), path.join(linked, name))
    const model = await openModel(linked)
    expect(model.family).toBe('vtp')
    await model.close()
  })
})
