/** What every command has in common, as users meet it: usage errors, configuration, JSON. */
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { repoRoot, runCli, tempDir } from '../support/cli.js'

const version = (JSON.parse(readFileSync(path.join(repoRoot, 'package.json'), 'utf8')) as { version: string }).version

function configFile(text: string): string {
  const file = path.join(tempDir(), 'run.yaml')
  writeFileSync(file, text)
  return file
}

describe('help and version', () => {
  it('prints the version', async () => {
    const { code, stdout } = await runCli(['--version'])
    expect([code, stdout]).toEqual([0, `vtp/${version} ${process.platform}-${process.arch} node-${process.version}\n`])
  })

  it('explains a command with its flags, defaults and examples, without colour in a pipe', async () => {
    for (const args of [
      ['encode', '--help'],
      ['help', 'encode'],
      ['encode', '-h'],
    ]) {
      const { code, stdout } = await runCli(args)
      expect(code).toBe(0)
      expect(stdout).toMatch(/--shard-rows=<value> +\[default: 10000, env: VTP_SHARD_ROWS\]/)
      expect(stdout).toContain('$ vtp encode photos --out latents')
      expect(stdout).not.toContain('\u001b')
    }
  })

  it('sets up completion in the shell', async () => {
    const env = { XDG_CACHE_HOME: tempDir(), HOME: tempDir() }
    const { code, stdout } = await runCli(['autocomplete', 'bash'], { env })
    expect(code).toBe(0)
    expect(stdout).toContain('vtp autocomplete script bash')
  })

  it('lists the commands of a topic', async () => {
    const { code, stdout } = await runCli(['model'])
    expect(code).toBe(0)
    for (const name of ['export', 'info', 'pull']) expect(stdout).toContain(`model ${name}`)
  })
})

describe('wrong usage', () => {
  const cases: [name: string, args: string[], message: string, suggestion: string][] = [
    ['an unknown command', ['encod', 'photos'], 'vtp has no command "encod"', 'did you mean `vtp encode`?'],
    [
      'an unknown command of a topic',
      ['model', 'inof'],
      'vtp has no command "model inof"',
      'did you mean `vtp model info`?',
    ],
    ['a flag without a command', ['--jsno'], 'vtp has no flag --jsno', '`vtp --help` lists the commands'],
    [
      'an unknown flag',
      ['encode', 'a', '--out', 'b', '--flpi'],
      'vtp encode has no flag --flpi',
      'did you mean --flip?',
    ],
    ['a missing flag', ['encode', 'a'], 'vtp encode needs --out', '`vtp encode --help` explains every flag'],
    [
      'a missing argument',
      ['model', 'info'],
      'vtp model info needs MODEL',
      '`vtp model info --help` explains every flag',
    ],
    ['a missing value', ['encode', 'a', '--out'], '--out needs a value', '`vtp encode --help` explains every flag'],
    [
      'too many arguments',
      ['model', 'info', 'a', 'b'],
      'vtp model info: unexpected argument "b"',
      'put values with spaces',
    ],
    [
      'a wrong choice',
      ['encode', 'a', '--out', 'b', '--format', 'parqet'],
      '--format: "parqet" is not one of',
      'did you mean "parquet"?',
    ],
    [
      'a wrong number',
      ['encode', 'a', '--out', 'b', '--workers', 'two'],
      '--workers: "two" is not a whole number',
      'vtp encode --help',
    ],
    [
      'more threads than memory could hold',
      ['encode', 'a', '--out', 'b', '--workers', '9999'],
      '--workers: "9999" is not a whole number of at most 512',
      'vtp encode',
    ],
    [
      'a number out of range',
      ['encode', 'a', '--out', 'b', '--shard-rows', '0'],
      '"0" is not a whole number of at least 1',
      'vtp encode',
    ],
  ]
  it.each(cases)('%s ends with exit code 2 and what to try', async (_, args, message, suggestion) => {
    const { code, stdout, stderr } = await runCli(args)
    expect(code).toBe(2)
    expect(stdout).toBe('')
    const [first, ...tries] = stderr.trimEnd().split('\n')
    expect(first).toMatch(/^Error: /)
    expect(first).toContain(message)
    expect(tries.join('\n')).toContain(suggestion)
    for (const line of tries) expect(line).toMatch(/^Try: /)
  })

  it('is one JSON object on stdout with --json', async () => {
    for (const args of [
      ['encode', 'a', '--json'],
      ['encod', '--json'],
    ]) {
      const { code, stdout } = await runCli(args)
      expect(code).toBe(2)
      const { error } = JSON.parse(stdout) as { error: Record<string, unknown> }
      expect(Object.keys(error)).toEqual(['code', 'message', 'suggestions'])
      expect(error.suggestions).not.toEqual([])
    }
  })
})

describe('where flags come from', () => {
  it('the command line wins over the environment, which wins over the configuration file', async () => {
    const file = configFile('format: from-file\nworkers: 1\n')
    const args = ['encode', 'a', '--out', 'b', '--config', file]
    expect((await runCli(args)).stderr).toContain('"from-file"')
    const env = { VTP_FORMAT: 'from-env' }
    expect((await runCli(args, { env })).stderr).toContain('"from-env"')
    expect((await runCli([...args, '--format', 'from-argv'], { env })).stderr).toContain('"from-argv"')
  })

  it('an error names the variable or the file that a wrong value comes from', async () => {
    const file = configFile('format: arow\n')
    const fromFile = await runCli(['encode', 'a', '--out', 'b'], { env: { VTP_CONFIG: file } })
    expect(fromFile.stderr).toContain(`Try: correct "format" in ${file}, where the value comes from`)
    const fromEnv = await runCli(['encode', 'a', '--out', 'b'], { env: { VTP_WORKERS: 'x' } })
    expect(fromEnv.stderr).toContain('Try: correct VTP_WORKERS, where the value comes from')
  })

  it('unknown keys are errors with a suggestion', async () => {
    const { code, stderr } = await runCli(['encode', 'a', '--out', 'b', '--config', configFile('modle: nano\n')])
    expect(code).toBe(2)
    expect(stderr).toContain('unknown key "modle"')
    expect(stderr).toContain('Try: did you mean "model"?')
  })

  it('a misspelt variable is an error like a misspelt flag, with a suggestion', async () => {
    const { code, stderr } = await runCli(['model', 'info', 'nano'], { env: { VTP_SHARD_ROW: '5' } })
    expect(code).toBe(2)
    expect(stderr).toContain('VTP_SHARD_ROW, which vtp does not know')
    expect(stderr).toContain('Try: did you mean VTP_SHARD_ROWS?')
  })

  it('variables of other commands, of tests, and those that Kubernetes sets for a service are none of its business', async () => {
    const link = 'tcp://10.0.0.7:8420'
    const env = { VTP_KIND: 'exact', VTP_GOLDEN: '/x', VTP_PORT: link, VTP_SERVICE_HOST: 'x', VTP_PORT_8420_TCP: link }
    const { stderr } = await runCli(['serve', '/nonexistent'], { env })
    expect(stderr).toContain('/nonexistent is ')
  })

  it('json can be switched on by the environment', async () => {
    const { code, stdout } = await runCli(['model', 'info', 'nano'], { env: { VTP_JSON: '1' } })
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ name: 'vtp-nano' })
  })
})
