import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { onnxRuntimeFolder } from './cuda.js'
import { neededLibraries } from './elf.js'

describe('neededLibraries', () => {
  it('reads the names that a library is linked to, and none from other files', () => {
    const library = path.join(onnxRuntimeFolder('linux', 'x64'), 'libonnxruntime.so.1')
    expect(neededLibraries(library)).toEqual(expect.arrayContaining(['libc.so.6', 'libstdc++.so.6']))
    expect(neededLibraries(fileURLToPath(import.meta.url))).toEqual([])
    expect(neededLibraries('/no/such/library.so')).toEqual([])
  })
})
