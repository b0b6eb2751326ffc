import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { configDefaults, defineConfig } from 'vitest/config'
import { goldenPath } from './test/golden.js'

/** Tests that read reference data of the official code, which is not part of the repository. */
function needGoldenData(): string[] {
  return readdirSync('test', { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => path.join('test', name))
    .filter((file) => readFileSync(file, 'utf8').includes("from '../golden.js'"))
}

const withoutData = existsSync(goldenPath()) ? [] : needGoldenData()
if (withoutData.length > 0) {
  console.warn(`No reference data in ${goldenPath()} (VTP_GOLDEN names another folder).`)
  console.warn(`These tests compare with it and are left out: ${withoutData.join(', ')}`)
}

export default defineConfig({
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    exclude: [...configDefaults.exclude, ...withoutData],
    // End-to-end tests run the built command line, and worker threads load built files.
    globalSetup: ['test/global-setup.ts'],
    // Limits against hangs: nothing here depends on how fast the machine is.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    pool: 'forks',
    maxWorkers: 2,
  },
})
