import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { linuxAdapter, macAdapter, showsGpu } from './webgpu-adapter.js'

const MESA = ['libvulkan_radeon.so', 'libvulkan_intel.so'].map((name) => `/usr/lib/x86_64-linux-gnu/${name}`)
const nameOf = (node: string): string =>
  ({ '/dev/dri/renderD128': 'Intel', '/dev/dri/renderD129': 'AMD' })[node] ?? node

describe('an adapter on Linux', () => {
  it('is a GPU where a device is held open and no driver in software is loaded', () => {
    expect(linuxAdapter({ libraries: MESA, nodes: ['/dev/null', '/dev/dri/renderD129'] }, nameOf)).toEqual({
      name: 'AMD',
      kind: 'gpu',
    })
    expect(linuxAdapter({ libraries: MESA, nodes: ['/dev/dri/renderD128', '/dev/dri/renderD129'] }, nameOf)).toEqual({
      name: 'Intel or AMD',
      kind: 'gpu',
    })
    expect(
      linuxAdapter({ libraries: ['/usr/lib/libGLX_nvidia.so.0'], nodes: ['/dev/nvidia0', '/dev/nvidiactl'] }),
    ).toEqual({ name: 'NVIDIA', kind: 'gpu' })
  })
  it('is not a GPU because its driver is loaded: the loader loads all of them', () => {
    expect(linuxAdapter({ libraries: MESA, nodes: ['/dev/null'] }, nameOf).kind).toBe('unknown')
    const all = [...MESA, '/usr/lib/x86_64-linux-gnu/libvulkan_lvp.so']
    expect(linuxAdapter({ libraries: all, nodes: [] }, nameOf)).toEqual({ name: 'llvmpipe', kind: 'software' })
  })
  it('is not known where both kinds could compute, or the driver hands on to another system', () => {
    const nodes = ['/dev/dri/renderD128']
    for (const library of ['libvk_swiftshader.so', 'libvulkan_virtio.so', 'libvulkan_dzn.so'])
      expect(linuxAdapter({ libraries: [...MESA, `/usr/lib/${library}`], nodes }, nameOf).kind).toBe('unknown')
    expect(linuxAdapter({ libraries: ['/usr/lib/libvulkan_virtio.so'], nodes: [] }, nameOf).kind).toBe('unknown')
    expect(linuxAdapter({ libraries: [], nodes: [] }, nameOf)).toEqual({ name: null, kind: 'unknown' })
  })
})

it('on a Mac it is Apple’s own chip, or not known', () => {
  const list = (...names: string[]): string =>
    JSON.stringify({ SPDisplaysDataType: names.map((name) => ({ sppci_model: name })) })
  expect(macAdapter(list('Apple M2 Pro'))).toEqual({ name: 'Apple M2 Pro', kind: 'gpu' })
  expect(macAdapter(list('Apple Paravirtual device'))).toEqual({ name: 'Apple Paravirtual device', kind: 'unknown' })
  expect(macAdapter(list('Apple M1', 'AMD Radeon')).kind).toBe('unknown')
  expect(macAdapter('').kind).toBe('unknown')
})

it('a system shows a GPU by its device files; Windows does not', () => {
  const devices = mkdtempSync(path.join(tmpdir(), 'vtp-dev-'))
  try {
    expect(showsGpu('linux', devices)).toBe(false)
    mkdirSync(path.join(devices, 'dri'))
    writeFileSync(path.join(devices, 'dri', 'card0'), '')
    expect(showsGpu('linux', devices)).toBe(false)
    writeFileSync(path.join(devices, 'dri', 'renderD128'), '')
    expect(showsGpu('linux', devices)).toBe(true)
    expect(showsGpu('linux', path.join(devices, 'none'))).toBe(false)
    expect(showsGpu('win32', devices)).toBe(false)
  } finally {
    rmSync(devices, { recursive: true, force: true })
  }
})
