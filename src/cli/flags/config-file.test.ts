import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { tempDir } from '../../../test/support/cli.js'
import { type FlagShapes, flagsOnCommandLine, injectValues, valuesFromConfig, valuesFromEnv } from './config-file.js'
import { envName } from './declare.js'
import { readConfigFile } from './read-config.js'

const flags: FlagShapes = {
  out: { type: 'option', char: 'o' },
  outputs: { type: 'option' },
  'shard-rows': { type: 'option' },
  text: { type: 'option', multiple: true },
  flip: { type: 'boolean' },
  'help-others': { type: 'boolean', allowNo: true },
  config: { type: 'option' },
}
const none: ReadonlySet<string> = new Set()

function tokens(values: { tokens: string[] }[]): string[] {
  return values.flatMap((value) => value.tokens)
}

describe('flagsOnCommandLine', () => {
  it('sees long, joined, negated and short flags, and nothing behind --', () => {
    const argv = ['a', '--shard-rows=5', '-ofolder', '--no-help-others', '--', '--flip']
    expect([...flagsOnCommandLine(argv, flags)].sort()).toEqual(['help-others', 'out', 'shard-rows'])
  })

  it('does not take a longer flag for a shorter one', () => {
    expect([...flagsOnCommandLine(['--outputs', 'clip'], flags)]).toEqual(['outputs'])
  })
})

describe('valuesFromEnv', () => {
  it('maps VTP_<FLAG_NAME> to flags that are not on the command line', () => {
    expect(envName('shard-rows')).toBe('VTP_SHARD_ROWS')
    const env = { VTP_SHARD_ROWS: '7', VTP_OUT: 'x', VTP_OUTPUTS: '', VTP_FLIP: 'yes', VTP_HELP_OTHERS: '0' }
    expect(tokens(valuesFromEnv(env, flags, new Set(['out'])))).toEqual([
      '--shard-rows',
      '7',
      '--flip',
      '--no-help-others',
    ])
  })

  it('leaves a false boolean without a negation out', () => {
    expect(tokens(valuesFromEnv({ VTP_FLIP: 'false' }, flags, none))).toEqual([])
  })

  it('refuses a boolean that is neither true nor false', () => {
    expect(() => valuesFromEnv({ VTP_FLIP: 'maybe' }, flags, none)).toThrow('VTP_FLIP is "maybe"')
  })
})

describe('valuesFromConfig', () => {
  it('takes numbers, booleans, and lists as comma-separated text or repeated flags', () => {
    const config = { 'shard-rows': 5, flip: true, outputs: ['latents', 'clip'], text: ['a b', 'c'], out: null }
    expect(tokens(valuesFromConfig(config, 'run.yaml', flags, none))).toEqual([
      ...['--shard-rows', '5', '--flip', '--outputs', 'latents,clip', '--text', 'a b', '--text', 'c'],
    ])
  })

  it('refuses unknown keys with a suggestion, also underscores, and never takes another config', () => {
    const failure = (config: Record<string, unknown>) => {
      try {
        valuesFromConfig(config, 'run.yaml', flags, none)
      } catch (error) {
        return error as { message: string; suggestions: string[]; exitCode: number }
      }
      throw new Error('nothing was thrown')
    }
    expect(failure({ shard_rows: 1 })).toMatchObject({
      message: 'run.yaml: unknown key "shard_rows"',
      suggestions: ['did you mean "shard-rows"?'],
      exitCode: 2,
    })
    expect(failure({ config: 'other.yaml' }).message).toContain('unknown key "config"')
    expect(failure({ out: { a: 1 } }).message).toContain('"out" in run.yaml is {"a":1}')
    expect(failure({ __proto__: 1, constructor: 1 }).message).toContain('unknown key "constructor"')
  })
})

describe('injectValues', () => {
  it('puts flags before --', () => {
    const values = [{ flag: 'flip', tokens: ['--flip'], from: 'VTP_FLIP' }]
    expect(injectValues(['a'], values)).toEqual(['a', '--flip'])
    expect(injectValues(['a', '--', 'b'], values)).toEqual(['a', '--flip', '--', 'b'])
  })
})

describe('readConfigFile', () => {
  const file = (text: string): string => {
    const name = path.join(tempDir(), 'run.yaml')
    writeFileSync(name, text)
    return name
  }

  it('reads a mapping; an empty file is an empty one', async () => {
    expect(await readConfigFile(file('model: nano # bundled\nshard-rows: 5\n'))).toEqual({
      model: 'nano',
      'shard-rows': 5,
    })
    expect(await readConfigFile(file(''))).toEqual({})
  })

  it('says what is wrong with anything else', async () => {
    await expect(readConfigFile(file('- a\n- b\n'))).rejects.toThrow('holds a list, not keys and values')
    await expect(readConfigFile(file('a: [1\n'))).rejects.toThrow('is not valid YAML')
    await expect(readConfigFile('/nonexistent/run.yaml')).rejects.toThrow('there is no such file')
  })
})
