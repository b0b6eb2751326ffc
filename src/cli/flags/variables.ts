/**
 * The variables named `VTP_…`: one for each flag, and those listed here. A name that is neither is a mistake, and
 * a mistake that changes what is encoded must not pass in silence.
 */
import { usageError } from '../../errors.js'
import { envName } from './declare.js'
import { didYouMean } from './suggest.js'

/** What the program reads besides its flags. docs/commands.md explains each. */
export const OTHER_VARIABLES = ['VTP_CACHE', 'VTP_DEBUG', 'VTP_WEIGHTS_URL']

/** Read by tests, benchmarks and the examples in deploy/, which pass their environment on. */
export const VARIABLES_AROUND = [
  'VTP_FLAGS',
  'VTP_GOLDEN',
  'VTP_GUIDED_DIFFUSION',
  'VTP_OFFICIAL',
  'VTP_PYTHON',
  'VTP_TEST_SEED',
  'VTP_TEST_SKIP_BUILD',
]

/** Set by the shell's completion (`vtp autocomplete`). */
const isCompletion = (name: string): boolean => name.startsWith('VTP_AC_')

/**
 * Kubernetes sets such names in every container beside a service that is called `vtp` or `vtp-…`, among them
 * `VTP_PORT=tcp://10.0.0.7:8420` (kubernetes.io, "Accessing the Service: environment variables").
 */
export function isServiceLink(name: string, value: string): boolean {
  return (
    /_SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?$/.test(name) ||
    /_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/.test(name) ||
    (name.endsWith('_PORT') && /^(tcp|udp|sctp):\/\//.test(value))
  )
}

/** oclif reads the variables of flags, too: what is not meant for one is taken away before. */
export function dropServiceLinks(env: NodeJS.ProcessEnv): void {
  for (const [name, value] of Object.entries(env))
    if (name.startsWith('VTP_') && value !== undefined && isServiceLink(name, value)) delete env[name]
}

/** Throws usage error `unknown_variable` for a set variable that no command knows. `flags` are those of all commands. */
export function assertKnownVariables(env: NodeJS.ProcessEnv, flags: Iterable<string>): void {
  const known = new Set([...[...flags].map(envName), ...OTHER_VARIABLES, ...VARIABLES_AROUND])
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith('VTP_') || value === undefined || known.has(name)) continue
    if (isServiceLink(name, value) || isCompletion(name)) continue
    const near = didYouMean(name, known)
    throw usageError('unknown_variable', `The environment sets ${name}, which vtp does not know`, [
      near ? `did you mean ${near}?` : 'every flag has a variable: --shard-rows is VTP_SHARD_ROWS',
      `or take it away: unset ${name}`,
    ])
  }
}
