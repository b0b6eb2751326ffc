/** PyTorch's own files, both containers, against the values that PyTorch reads from them. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { openSafetensors } from '../../src/io/safetensors.js'
import { isTensor, lookUp, openStateDict, openTorchFile, toPlain } from '../../src/io/torch/file.js'
import { encodeLatentsStats } from '../../src/io/torch-stats.js'
import { zipStored } from '../../src/io/zip-writer.js'
import { halfTable } from '../../src/math/half.js'
import { goldenPath } from '../golden.js'
import { tempDir } from '../support/cli.js'

const pth = (...parts: string[]): string => goldenPath('metrics', 'pth', ...parts)
const expected = JSON.parse(readFileSync(pth('expected.json'), 'utf8'))

describe.each(['state_zip.pth', 'state_legacy.pth'])('%s', (name) => {
  it('every tensor of every type and layout has the values that PyTorch reads', async () => {
    const file = await openStateDict(pth(name))
    const want = expected['state_*.pth']
    expect([...file.tensors.keys()]).toEqual(Object.keys(want))
    for (const [key, tensor] of file.tensors) {
      const { dtype, shape, stride, storage_offset, values } = want[key]
      expect([tensor.dtype, tensor.shape, tensor.stride, tensor.offset], key).toEqual([
        dtype,
        shape,
        stride,
        storage_offset,
      ])
      const data = await file.readTensor(tensor)
      let got: unknown[] = Array.from(data as Float32Array, Number)
      if (dtype === 'float16') got = got.map((bits) => halfTable()[bits as number])
      if (dtype === 'bfloat16') got = [...(await file.readFloat32(tensor))]
      if (dtype === 'bool') got = got.map(Boolean)
      expect(got, key).toEqual(values.flat())
    }
    await file.close()
  })
})

describe.each(['checkpoint_zip.pt', 'checkpoint_legacy.pt'])('%s', (name) => {
  it('training checkpoints: weights, optimizer state and configuration', async () => {
    const file = await openTorchFile(pth(name))
    const want = expected['checkpoint_*']
    const at = (...keys: (string | number)[]) => lookUp(file.root, ...keys)
    expect([...(file.root as Map<string, unknown>).keys()]).toEqual(want.keys)
    const tensor = async (...keys: string[]): Promise<number[]> => {
      const value = at(...keys)
      if (!isTensor(value)) throw new Error(`${keys} is no tensor`)
      return [...(await file.readFloat32(value))]
    }
    expect(await tensor('model', 'module.w')).toEqual(want['model.module.w'])
    expect(await tensor('model', 'b')).toEqual(want['model.b'])
    expect(await tensor('ema', 'w')).toEqual(want['ema.w'])
    expect(at('opt', 'param_groups', 0, 'lr')).toBe(want['opt.param_groups[0].lr'])
    expect(at('opt', 'param_groups', 0, 'betas')).toEqual(want['opt.param_groups[0].betas'])
    expect(String(at('config', 'big'))).toBe(want['config.big'])
    expect(at('config', 'unicode')).toBe(want['config.unicode'])
    expect(toPlain(at('config', 'list')!)).toEqual(want['config.list'])
    expect([at('step'), at('train_steps')]).toEqual([want.step, want.train_steps])
    await file.close()
  })
})

it('the checkpoint of a training run opens under its key, with all parameters of the model', async () => {
  const file = await openStateDict(goldenPath('lightningdit', 'train', '0000004.pt'), ['ema', 'model'])
  const init = await openSafetensors(goldenPath('lightningdit', 'train', 'init.safetensors'))
  for (const [name, tensor] of init.tensors) expect(file.tensors.get(name)?.shape, name).toEqual(tensor.shape)
  await file.close()
  await init.close()
})

it('our own latents_stats.pt reads back', async () => {
  const file = path.join(tempDir(), 'latents_stats.pt')
  writeFileSync(file, encodeLatentsStats(Float32Array.of(1, 2, 3), Float32Array.of(4, 5, 6)))
  const { tensors, readFloat32, close } = await openStateDict(file)
  expect(tensors.get('std')!.shape).toEqual([1, 3, 1, 1])
  expect([...(await readFloat32(tensors.get('std')!))]).toEqual([4, 5, 6])
  await close()
})

describe('forms of a tensor', () => {
  const str = (text: string): number[] => [0x58, text.length, 0, 0, 0, ...Buffer.from(text)]
  const name = (module: string, attribute: string): number[] => [...Buffer.from(`c${module}\n${attribute}\n`)]
  const call = (callee: number[], ...args: number[][]): number[] => [...callee, 0x28, ...args.flat(), 0x74, 0x52]
  const tuple = (...items: number[][]): number[] => [0x28, ...items.flat(), 0x74]
  const storage = [...tuple(str('storage'), name('torch', 'FloatStorage'), str('0'), str('cpu'), [0x4b, 2]), 0x51]
  const hooks = call(name('collections', 'OrderedDict'))
  const make = name('torch._utils', '_rebuild_tensor_v2')
  const parts = (size = [0x4b, 2], stride = [0x4b, 1]): number[][] => [
    ...[storage, [0x4b, 0], tuple(size), tuple(stride), [0x89], hooks],
  ]
  const open = async (pickle: number[]) => {
    const file = path.join(tempDir(), 'form.pt')
    const data = Buffer.from(Float32Array.of(3, 4).buffer)
    const bytes = Buffer.from([0x80, 2, ...pickle, 0x2e])
    writeFileSync(
      file,
      zipStored([
        ['a/data.pkl', bytes],
        ['a/data/0', data],
      ]),
    )
    return openTorchFile(file)
  }
  const values = async (pickle: number[]): Promise<number[]> => {
    const file = await open(pickle)
    const data = await file.readFloat32(file.root as never)
    await file.close()
    return [...data]
  }

  it('parameters and tensors with attributes are the tensors that they hold', async () => {
    const tensor = call(make, ...parts())
    const parameter = call(name('torch._utils', '_rebuild_parameter_with_state'), tensor, [0x88], hooks, [0x7d])
    expect(await values(parameter)).toEqual([3, 4])
    const rebuild = name('torch._tensor', '_rebuild_from_type_v2')
    expect(await values(call(rebuild, make, name('torch', 'Tensor'), tuple(...parts()), [0x7d]))).toEqual([3, 4])
    const list = call(rebuild, name('builtins', 'list'), name('torch', 'Tensor'), tuple([0x5d]), [0x7d])
    await expect(open(list)).rejects.toMatchObject({ code: 'bad_torch_file' })
    const other = call(rebuild, make, name('os', 'system'), tuple(...parts()), [0x7d])
    await expect(open(other)).rejects.toMatchObject({ code: 'unsafe_pickle' })
  })

  it('negated views, and a few bytes expanded to gigabytes, are refused', async () => {
    const flags = [0x7d, ...str('neg'), 0x88, 0x73]
    await expect(open(call(make, ...parts(), flags))).rejects.toThrow(/conjugates or negatives/)
    const huge = call(make, ...parts([0x4a, 0, 0, 0, 0x40], [0x4b, 0]))
    await expect(open(huge)).rejects.toThrow(/repeats 8 bytes/)
    expect(await values(call(make, ...parts([0x4b, 3], [0x4b, 0])))).toEqual([3, 3, 3])
  })
})

describe('hostile and damaged files', () => {
  it.each([
    ['malicious_zip.pth', 'posix.system'],
    ['malicious_eval_zip.pth', 'eval'],
    ['malicious_legacy.pth', 'posix.system'],
  ])('%s is refused by name, and nothing of it runs', async (name, call) => {
    const cwd = tempDir()
    await expect(openTorchFile(pth(name))).rejects.toMatchObject({
      code: 'unsafe_pickle',
      message: expect.stringContaining(call),
    })
    expect(execFileSync('ls', ['-A', cwd]).toString()).toBe('')
    expect(existsSync('PWNED_BY_PICKLE') || existsSync('PWNED_BY_PICKLE_EVAL')).toBe(false)
  })

  it.each(['zip', 'legacy'])('a device of lists within lists is refused at once: %s', async (container) => {
    // Every list holds the one before twice: 40 levels would be 2^40 letters as text.
    const levels = Array.from({ length: 40 }, (_, i) => [...Buffer.from('](h'), i, 0x68, i, 0x65, 0x71, i + 1]).flat()
    const device = [...Buffer.from('ctorch\ndevice\nh'), 40, 0x85, 0x52, 0x2e]
    const data = Buffer.from([0x80, 2, ...Buffer.from(']q'), 0, ...levels, ...device])
    const magic = [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e]
    const legacy = Buffer.from([
      ...magic,
      0x80,
      2,
      0x4d,
      0xe9,
      3,
      0x2e,
      0x80,
      2,
      0x7d,
      0x2e,
      ...data,
      0x80,
      2,
      0x5d,
      0x2e,
    ])
    const file = path.join(tempDir(), 'dag.pt')
    writeFileSync(file, container === 'zip' ? zipStored([['a/data.pkl', data]]) : legacy)
    await expect(openTorchFile(file)).rejects.toMatchObject({
      code: 'bad_torch_file',
      message: expect.stringContaining('device'),
    })
  })

  it('a truncated file is an error that says so', async () => {
    await expect(openTorchFile(pth('truncated_zip.pth'))).rejects.toMatchObject({ code: 'bad_zip' })
  })

  it.each(['state_zip.pth', 'state_legacy.pth', 'checkpoint_legacy.pt'])(
    '%s cut anywhere, or with any byte changed, is read or refused, never a crash',
    async (name) => {
      const bytes = readFileSync(pth(name))
      const file = path.join(tempDir(), 'damaged.pth')
      const attempt = async (damaged: Buffer): Promise<void> => {
        writeFileSync(file, damaged)
        try {
          const opened = await openTorchFile(file)
          const values = opened.root instanceof Map ? [...opened.root.values()] : []
          for (const value of values) if (isTensor(value)) await opened.readTensor(value)
          await opened.close()
        } catch (error) {
          expect(error).toMatchObject({ name: 'VtpError' })
        }
      }
      await fc.assert(
        fc.asyncProperty(fc.nat(bytes.length - 1), fc.nat(255), fc.boolean(), async (at, value, cut) => {
          const damaged = Buffer.from(cut ? bytes.subarray(0, at) : bytes)
          if (!cut) damaged[at] = value
          await attempt(damaged)
        }),
        { numRuns: 300 },
      )
    },
  )
})
