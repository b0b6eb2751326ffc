/** Finds command lines of vtp in Markdown and checks them against the program's manifest, without running them. */

export interface FlagShape {
  name: string
  type: 'boolean' | 'option'
  char?: string
  allowNo?: boolean
  required?: boolean
  multiple?: boolean
  summary?: string
  options?: string[]
}

export interface CommandShape {
  id: string
  summary?: string
  examples?: { description?: string; command: string }[]
  strict: boolean
  flags: Record<string, FlagShape>
  args: Record<string, { name: string; required?: boolean; multiple?: boolean }>
}

export interface CommandLine {
  line: string
  /** A line to be typed; false for a mention in running text, which may leave things out. */
  whole: boolean
}

/** Lines of sh, bash and console blocks, and mentions as inline code, that call vtp. */
export function commandLines(markdown: string): CommandLine[] {
  const found: CommandLine[] = []
  const add = (text: string, whole: boolean): void => {
    for (const part of text.split(/&&|\|\||[|;]/)) {
      const line = part.trim().replace(/^(\$ |sudo |srun )*([A-Z_]+=\S* )*/, '')
      if (/^(vtp|\.\/bin\/run\.js)( |$)/.test(line)) found.push({ line, whole })
    }
  }
  for (const [, language, body] of markdown.matchAll(/^ *```(\w*)\n([\s\S]*?)^ *```$/gm)) {
    if (!['sh', 'bash', 'console'].includes(language!)) continue
    for (const line of body!.replaceAll('\\\n', ' ').split('\n')) add(hideQuoted(line), true)
  }
  const prose = markdown.replace(/^ *```[\s\S]*?^ *```$/gm, '')
  for (const [, code] of prose.matchAll(/`([^`\n]+)`/g)) add(hideQuoted(code!), false)
  return found
}

/** Separators inside quotes separate nothing; comments are no words. */
function hideQuoted(line: string): string {
  return line
    .replace(/"[^"]*"|'[^']*'/g, (quoted) => quoted.replace(/[|;&]/g, '_').replace(/[\s#]/g, '_'))
    .replace(/\s#.*$/, '')
    .replace(/\s[<>]\s*\S+/g, '')
}

/** What is wrong with a command line; empty when the program would take it. */
export function checkCommandLine(line: string, commands: Record<string, CommandShape>, whole = true): string[] {
  const words = hideQuoted(line).split(/\s+/).filter(Boolean).slice(1)
  if (words.length === 0 || words[0]!.startsWith('-')) return isGlobal(words) ? [] : [`unknown flag ${words[0]}`]
  const two = `${words[0]}:${words[1]}`
  const command = commands[two] ?? commands[words[0]!]
  const isTopic = Object.keys(commands).some((id) => id.startsWith(`${words[0]}:`))
  if (!command) {
    if (words[0] === 'COMMAND' || words[0] === 'help' || (isTopic && !whole)) return []
    return [`unknown command ${words.slice(0, 2).join(' ')}`]
  }
  const problems: string[] = []
  const flags = Object.values(command.flags)
  const given = new Set<string>()
  let args = 0
  const rest = words.slice(command === commands[two] ? 2 : 1)
  for (let i = 0; i < rest.length; i++) {
    const word = rest[i]!
    if (word === '--help' || word === '…' || word === '...' || word === '[FLAGS]') continue
    if (!/^-[\w-]/.test(word)) {
      args++
      continue
    }
    const [name, value] = word.split(/=(.*)/s)
    const flag = flags.find((f) =>
      [`--${f.name}`, f.allowNo ? `--no-${f.name}` : '', f.char ? `-${f.char}` : ''].includes(name!),
    )
    if (!flag) {
      problems.push(`unknown flag ${name}`)
      continue
    }
    given.add(flag.name)
    const text = flag.type === 'option' ? (value ?? rest[++i]) : undefined
    if (flag.type === 'option' && text === undefined && whole) problems.push(`${name} has no value`)
    if (flag.options && text !== undefined && /^[a-z0-9]+$/.test(text) && !flag.options.includes(text)) {
      problems.push(`${name} takes one of ${flag.options.join(', ')}`)
    }
  }
  const shapes = Object.values(command.args)
  const most = !command.strict || shapes.some((arg) => arg.multiple) ? Number.POSITIVE_INFINITY : shapes.length
  if (args > most) problems.push(`${args} arguments, at most ${most} are taken`)
  if (whole && !rest.includes('--help')) {
    const least = shapes.filter((arg) => arg.required).length
    if (args < least) problems.push(`${args} arguments, ${least} are needed`)
    for (const flag of flags) if (flag.required && !given.has(flag.name)) problems.push(`--${flag.name} is missing`)
  }
  return problems
}

function isGlobal(words: string[]): boolean {
  return words.every((word) => ['--help', '-h', '--version'].includes(word))
}
