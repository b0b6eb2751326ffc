/** The documentation says what the program does: commands, flags and links that exist. */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { repoRoot } from './support/cli.js'
import { type CommandShape, checkCommandLine, commandLines } from './support/command-lines.js'

const pages = [
  'README.md',
  'CONTRIBUTING.md',
  'models/vtp-nano/README.md',
  ...markdownIn('docs'),
  ...markdownIn('bench'),
]

function markdownIn(folder: string): string[] {
  if (!existsSync(path.join(repoRoot, folder))) return []
  const names = readdirSync(path.join(repoRoot, folder), { recursive: true }) as string[]
  return names.filter((name) => name.endsWith('.md')).map((name) => path.join(folder, name))
}

function read(page: string): string {
  return readFileSync(path.join(repoRoot, page), 'utf8')
}

const manifest = JSON.parse(read('oclif.manifest.json')) as { commands: Record<string, CommandShape> }

describe('docs/commands.md', () => {
  it('is what the program says', () => {
    execFileSync(process.execPath, ['--import', 'tsx', path.join(repoRoot, 'scripts', 'docs.mjs'), '--check'], {
      stdio: 'pipe',
      cwd: repoRoot,
    })
  })
})

describe('every command', () => {
  it.each(Object.entries(manifest.commands))(
    '%s has a summary, examples that parse, and a summary for each flag',
    (id, command) => {
      expect(command.summary).toMatch(/\.$/)
      expect(command.examples?.length).toBeGreaterThan(0)
      for (const example of command.examples ?? []) {
        const line = example.command
          .replaceAll('<%= config.bin %>', 'vtp')
          .replaceAll('<%= command.id %>', id.replaceAll(':', ' '))
        expect(checkCommandLine(line, manifest.commands)).toEqual([])
      }
      for (const flag of Object.values(command.flags)) expect(flag.summary, flag.name).toMatch(/\.$/)
    },
  )
})

describe.each(pages)('%s', (page) => {
  it('shows only commands that the program would accept', () => {
    const problems = commandLines(read(page)).flatMap(({ line, whole }) =>
      checkCommandLine(line, manifest.commands, whole).map((problem) => `${line}: ${problem}`),
    )
    expect(problems).toEqual([])
  })

  it('links only to files that exist', () => {
    const links = [...read(page).matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)].map((match) => match[1]!)
    const dead = links
      .filter((link) => !/^[a-z]+:/.test(link))
      .filter((link) => !existsSync(path.join(repoRoot, path.dirname(page), link)))
    expect(dead).toEqual([])
  })
})

describe('README.md', () => {
  it('begins with two commands of one line each: run the program, run the tests', () => {
    const beginning = read('README.md').split(/^## /m)[0]!
    const blocks = [...beginning.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map((match) => match[1]!.trim())
    expect(blocks).toHaveLength(2)
    expect(blocks[0]).toMatch(/^npm ci && .*\.\/bin\/run\.js encode fixtures\/images --out \S+$/)
    expect(blocks[1]).toMatch(/^npm ci && npm test$/)
  })
})
