import { describe, expect, it } from 'vitest'
import { type CommandShape, checkCommandLine, commandLines } from './command-lines.js'

const json = { name: 'json', type: 'boolean' } as const
const commands: Record<string, CommandShape> = {
  encode: {
    id: 'encode',
    strict: true,
    args: { source: { name: 'source', required: true } },
    flags: {
      json,
      out: { name: 'out', type: 'option', char: 'o', required: true },
      format: { name: 'format', type: 'option', options: ['arrow', 'parquet'] },
      'help-others': { name: 'help-others', type: 'boolean', allowNo: true },
    },
  },
  'model:info': { id: 'model:info', strict: true, args: { model: { name: 'model', required: true } }, flags: { json } },
}

describe('checkCommandLine', () => {
  it('accepts what the program accepts', () => {
    for (const line of [
      'vtp encode "my photos" --out=latents --format parquet --no-help-others',
      './bin/run.js encode photos -o latents # a comment --unknown',
      'vtp model info nano --json',
      'vtp encode --help',
      'vtp --version',
    ]) {
      expect(checkCommandLine(line, commands), line).toEqual([])
    }
  })

  it('finds every kind of mistake', () => {
    const problem = (line: string): string => checkCommandLine(line, commands).join('; ')
    expect(problem('vtp encod photos')).toBe('unknown command encod photos')
    expect(problem('vtp model')).toBe('unknown command model')
    expect(problem('vtp encode photos')).toBe('--out is missing')
    expect(problem('vtp encode photos --out latents --flpi')).toBe('unknown flag --flpi')
    expect(problem('vtp encode a b --out latents')).toBe('2 arguments, at most 1 are taken')
    expect(problem('vtp encode --out latents')).toBe('0 arguments, 1 are needed')
    expect(problem('vtp encode a --out latents --format jpeg')).toBe('--format takes one of arrow, parquet')
    expect(problem('vtp encode a --out')).toContain('--out has no value')
  })
})

describe('commandLines', () => {
  it('finds lines in blocks and mentions in text, with pipes, variables and continued lines', () => {
    const page = [
      'Use `vtp model info MODEL`, not `npm test`.',
      '```console',
      '$ VTP_JSON=1 vtp encode "a|b" \\',
      '    --out x | head',
      'output of vtp',
      '```',
      '```text',
      'vtp nonsense',
      '```',
      '```sh',
      'npm ci && ./bin/run.js encode a --out b',
      '```',
    ].join('\n')
    expect(commandLines(page).map(({ line, whole }) => [line.replace(/\s+/g, ' '), whole])).toEqual([
      ['vtp encode "a_b" --out x', true],
      ['./bin/run.js encode a --out b', true],
      ['vtp model info MODEL', false],
    ])
  })
})
