import { describe, expect, it } from 'vitest'
import { inspectMachine, int8Unit } from './devices.js'
import { cpuFeatures } from './processor.js'

describe('cpuFeatures', () => {
  it('finds the vector extensions that matter, on x86 and ARM', () => {
    const x86 = 'processor\t: 0\nflags\t\t: fpu avx2 avx512f amx_tile avx512_vnni amx_int8 syscall\n\nprocessor\t: 1\n'
    expect(cpuFeatures(x86)).toEqual(['avx2', 'avx512f', 'avx512_vnni', 'amx_tile', 'amx_int8'])
    expect(cpuFeatures('Features\t: fp asimd sve i8mm\n')).toEqual(['asimd', 'i8mm', 'sve'])
    expect(cpuFeatures('')).toEqual([])
  })
})

it('int8 is said to be fast exactly where the processor has instructions for it', () => {
  expect(int8Unit(['avx2', 'avx512f', 'avx512_vnni', 'amx_int8'])).toBe('matrix')
  expect(int8Unit(['asimd', 'asimddp', 'i8mm'])).toBe('matrix')
  expect(int8Unit(['avx2', 'avx_vnni'])).toBe('dot')
  expect(int8Unit(['avx2', 'fma', 'avx512f'])).toBe('none')
  expect(int8Unit([])).toBeNull()
})

describe('inspectMachine', () => {
  it('reports usable cores and memory and both native libraries', async () => {
    const report = await inspectMachine()
    expect(report.cpu.cores).toBeGreaterThanOrEqual(1)
    expect(report.cpu.cores).toBeLessThanOrEqual(report.cpu.allowed)
    expect(report.memory.usableBytes).toBeGreaterThan(0)
    expect(report.memory.usableBytes).toBeLessThanOrEqual(report.memory.totalBytes)
    expect(report.runtime).toMatchObject({ ok: true })
    expect(report.images).toMatchObject({ ok: true })
    if (report.runtime.ok) expect(report.runtime.value.backends).toContainEqual({ name: 'cpu', bundled: true })
  })
})
