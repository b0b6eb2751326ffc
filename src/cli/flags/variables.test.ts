import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { repoRoot } from '../../../test/support/cli.js'
import { envName } from './declare.js'
import { assertKnownVariables, OTHER_VARIABLES, VARIABLES_AROUND } from './variables.js'

interface Manifest {
  commands: Record<string, { flags: Record<string, { name: string; env?: string }>; examples?: unknown[] }>
}

const manifest = JSON.parse(readFileSync(path.join(repoRoot, 'oclif.manifest.json'), 'utf8')) as Manifest
const commands = Object.entries(manifest.commands)
const flags = commands.flatMap(([, command]) => Object.values(command.flags))

describe('variables of the environment', () => {
  it('are declared on every flag, so that --help names them', () => {
    expect(flags.length).toBeGreaterThan(100)
    expect(flags.filter(({ name, env }) => env !== envName(name))).toEqual([])
  })

  it('are all known that the repository speaks of', () => {
    const known = new Set([...flags.map(({ env }) => env), ...OTHER_VARIABLES, ...VARIABLES_AROUND])
    const unknown: string[] = []
    for (const folder of ['src', 'bench', 'deploy', 'docs', 'scripts', '.ci', 'test']) {
      for (const name of readdirSync(path.join(repoRoot, folder), { recursive: true }) as string[]) {
        // Tests set names that are wrong on purpose.
        if (!/\.(ts|js|mjs|cjs|sh|py|md|ya?ml|json|sbatch)$|^run$/.test(name) || name.endsWith('.test.ts')) continue
        const text = readFileSync(path.join(repoRoot, folder, name), 'utf8')
        for (const [variable] of text.matchAll(/\bVTP_[A-Z][A-Z_]*[A-Z]\b/g))
          if (!known.has(variable)) unknown.push(`${folder}/${name}: ${variable}`)
      }
    }
    expect(unknown).toEqual([])
  })

  it('may be absent, of another program, or links of Kubernetes', () => {
    const env = { PATH: '/bin', VTPX: '1', VTP_MODEL: 'nano', VTP_CACHE: '/c', VTP_WEB_SERVICE_PORT_HTTP: '80' }
    Object.assign(env, { VTP_AC_BASH_SETUP_PATH: '/home/me/.cache/vtp/autocomplete/bash_setup' })
    expect(() => assertKnownVariables(env, ['model'])).not.toThrow()
    expect(() => assertKnownVariables({ VTP_CASHE: '/c' }, ['model'])).toThrow('VTP_CASHE')
  })
})

describe('every command', () => {
  it('has examples in its help', () => {
    expect(commands.filter(([, { examples = [] }]) => examples.length === 0).map(([id]) => id)).toEqual([])
  })
})
