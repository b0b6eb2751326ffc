// Writes docs/commands.md from oclif.manifest.json (made by `npm run build`). With --check it writes
// nothing and fails when the file is not what it would write.
import { readFile, writeFile } from 'node:fs/promises'
import { REJECT_CODES } from '../src/types.ts'

const target = new URL('../docs/commands.md', import.meta.url)
const manifest = JSON.parse(await readFile(new URL('../oclif.manifest.json', import.meta.url), 'utf8'))

/** Why an image became no row, in words. */
const REJECTS = {
  not_found: 'the file or object that the listing names is not there',
  changed: 'the object is not the one that was listed: its ETag differs',
  unreadable: 'it is there, but reading it failed (permissions, disk or network errors, a damaged container)',
  empty: 'it has no bytes',
  too_many_bytes: 'the encoded image is larger than the limit',
  too_many_pixels: 'its header announces more pixels than `--max-pixels`; it is not decoded',
  unsupported_format: 'it is none of JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, or of a kind that the message names',
  corrupt: 'the decoder found it damaged or cut off',
  bad_entry: 'a line of a list or a member of a container that describes no image',
  duplicate_key: 'an earlier image of the dataset has the same key',
  decode_timeout: 'decoding took too long',
  crashed_decoder: 'decoding it ended the decoder process, more than once',
  non_finite: 'an output of the model is NaN or infinite, or does not fit the element type',
}
const unexplained = REJECT_CODES.filter((code) => !REJECTS[code])
if (unexplained.length > 0)
  throw new Error(`scripts/docs.mjs does not explain the reject codes ${unexplained.join(', ')}`)

const commands = Object.values(manifest.commands)
  .filter((command) => !command.hidden)
  .sort((a, b) => (a.id < b.id ? -1 : 1))

const title = (command) => `vtp ${command.id.replaceAll(':', ' ')}`
const anchor = (text) => text.toLowerCase().replaceAll(' ', '-')
const cell = (text) => text.replaceAll('|', '\\|').replace(/\s*\n\s*/g, ' ')
const fill = (text, command) =>
  text.replaceAll('<%= config.bin %>', 'vtp').replaceAll('<%= command.id %>', command.id.replaceAll(':', ' '))

function flagName(flag) {
  const long = flag.allowNo ? `--[no-]${flag.name}` : `--${flag.name}`
  const value = flag.type === 'option' ? ` ${flag.helpValue ?? 'VALUE'}` : ''
  return `${flag.char ? `-${flag.char}, ` : ''}${long}${value}`
}

function flagText(flag) {
  const parts = [flag.summary ?? flag.description ?? '']
  if (flag.summary && flag.description) parts.push(flag.description)
  if (flag.options) parts.push(`One of ${flag.options.map((option) => `\`${option}\``).join(', ')}.`)
  if (flag.required) parts.push('Required.')
  if (flag.multiple) parts.push('May be repeated.')
  const hasDefault =
    flag.default !== undefined && flag.default !== '' && (flag.type === 'option' || flag.default === true)
  if (hasDefault) parts.push(`Default: \`${flag.type === 'boolean' ? `--${flag.name}` : flag.default}\`.`)
  return parts.join(' ')
}

function usage(command) {
  const args = Object.values(command.args).map((arg) => {
    const name = `${arg.name.toUpperCase()}${arg.multiple ? '...' : ''}`
    return arg.required ? name : `[${name}]`
  })
  const required = Object.values(command.flags).filter((flag) => flag.required)
  const flags = required.map((flag) => `--${flag.name} ${flag.helpValue ?? 'VALUE'}`)
  return [title(command), ...args, ...flags, '[FLAGS]'].join(' ')
}

function section(command) {
  const lines = [`## ${title(command)}`, '', command.summary ?? '', '', '```text', usage(command), '```', '']
  if (command.description) lines.push(fill(command.description, command), '')
  const args = Object.values(command.args)
  if (args.length > 0) {
    lines.push('| argument | |', '|---|---|')
    for (const arg of args) lines.push(`| \`${arg.name.toUpperCase()}\` | ${cell(arg.description ?? '')} |`)
    lines.push('')
  }
  const flags = Object.values(command.flags).filter((flag) => flag.helpGroup !== 'GLOBAL' && !flag.hidden)
  if (flags.length > 0) {
    lines.push('| flag | |', '|---|---|')
    for (const flag of flags) lines.push(`| \`${cell(flagName(flag))}\` | ${cell(flagText(flag))} |`)
    lines.push('')
  }
  for (const example of command.examples ?? []) {
    lines.push(
      `${example.description ?? 'Example'}:`,
      '',
      '```console',
      `$ ${fill(example.command, command)}`,
      '```',
      '',
    )
  }
  return lines.join('\n')
}

const globals = Object.values(commands[0].flags).filter((flag) => flag.helpGroup === 'GLOBAL')
const text = `# Commands

This page is generated from the program (\`npm run docs\`). \`vtp COMMAND --help\` prints the same.

| command | |
|---|---|
${commands.map((command) => `| [\`${title(command)}\`](#${anchor(title(command))}) | ${cell(command.summary ?? '')} |`).join('\n')}

## What all commands share

| flag | |
|---|---|
${globals.map((flag) => `| \`${flagName(flag)}\` | ${cell(flagText(flag))} |`).join('\n')}

**Where flags come from.** The command line wins over the environment, which wins over the configuration file. Every flag has a variable: \`--shard-rows\` is \`VTP_SHARD_ROWS\`. The file given by \`--config\` (or \`VTP_CONFIG\`) is YAML with the flags' names as keys; a key that the command does not have is an error. Lists are written as \`[latents, clip]\`, booleans as \`true\` or \`false\`; paths are relative to the folder in which the command runs.

\`\`\`yaml
# run.yaml, for: vtp encode photos --config run.yaml
out: features
outputs: [latents, clip]
format: parquet
\`\`\`

**Output.** People read stderr; data goes to stdout. With \`--json\` stdout carries one object, also for errors: \`{"error": {"code", "message", "suggestions"}}\`. There is no colour in progress and errors; help has colour on a terminal unless \`NO_COLOR\` is set. \`VTP_DEBUG=1\` adds a stack to errors.

**Shell completion.** The command \`autocomplete\` prints how to set it up for bash, zsh and PowerShell.

**Exit codes.**

| code | |
|---|---|
| 0 | done; rejected images are within \`--max-bad\` |
| 1 | done, but more rejects than allowed (\`exitReason\` of \`--json\`: \`too_many_rejects\`), or a check failed (\`check_failed\`, \`incomplete\`) |
| 2 | wrong usage or configuration |
| 3 | failed |
| 4 | interrupted: run the same command again to continue |

**Other variables.** \`VTP_CACHE\`: the folder for compiled graphs (default \`~/.cache/vtp\`). \`HF_HOME\`, \`HF_HUB_CACHE\`, \`HF_ENDPOINT\`, \`HF_TOKEN\`, \`HF_HUB_OFFLINE\`: the hub, as in every Hugging Face tool. \`UV_THREADPOOL_SIZE\`: threads for reading and decoding (default: cores + 2, at least 4).

**Reject codes.** An image that becomes no row is one line of \`_rejects-NNNNN.jsonl\` with \`key\`, \`uri\`, \`stage\` (list, read, decode, transform, encode), \`code\` and \`message\`:

| code | why |
|---|---|
${REJECT_CODES.map((code) => `| \`${code}\` | ${REJECTS[code]} |`).join('\n')}

${commands.map(section).join('\n')}`.trimEnd()

if (process.argv.includes('--check')) {
  const present = await readFile(target, 'utf8').catch(() => '')
  if (present !== `${text}\n`) {
    console.error('docs/commands.md is not what the program says: run `npm run build && npm run docs`')
    process.exitCode = 1
  }
} else {
  await writeFile(target, `${text}\n`)
}
