import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { repoRoot } from '../../test/support/cli.js'
import { checkDitConfig, DIT_SIZES } from './lightningdit/config.js'
import { parseConfig } from './vtp/config.js'

const nano = JSON.parse(readFileSync(path.join(repoRoot, 'models', 'vtp-nano', 'config.json'), 'utf8')) as object
const HUGE = 1_000_000_000

describe('a configuration that claims a huge number is refused before anything is made from it', () => {
  const numbers = Object.entries(parseConfig(JSON.stringify(nano), 'config.json')).flatMap(([name, value]) =>
    typeof value === 'number' && /size|depth|dim|heads|ratio|length|bottleneck/.test(name) ? [name] : [],
  )
  it.each(numbers)('VTP: %s', (name) => {
    const parse = () => parseConfig(JSON.stringify({ ...nano, [name]: HUGE }), 'config.json')
    expect(parse).toThrow(expect.objectContaining({ code: 'bad_config', exitCode: 2 }))
    expect(parse).toThrow(name)
  })

  const dit = {
    ...DIT_SIZES['LightningDiT-B/1']!,
    inputSize: 16,
    inChannels: 64,
    mlpRatio: 4,
    numClasses: 1000,
    nullClass: true,
    learnSigma: false,
    qkNorm: false,
    swiglu: true,
    rope: true,
    rmsNorm: true,
    woShift: false,
  }
  it.each(Object.keys(dit).filter((name) => typeof dit[name as keyof typeof dit] === 'number'))(
    'LightningDiT: %s',
    (name) => {
      expect(checkDitConfig(dit)).toEqual(dit)
      expect(() => checkDitConfig({ ...dit, [name]: HUGE })).toThrow(`${name} is ${HUGE}`)
    },
  )
})
