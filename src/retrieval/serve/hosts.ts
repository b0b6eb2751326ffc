/** Which names of a host the server answers to. */
import { isIP } from 'node:net'
import { hostname } from 'node:os'

const LOOPBACK = new Set(['localhost', '127.0.0.1', '[::1]', '::1'])

/**
 * The names by which this server may be reached. Names of elsewhere that lead here are refused (DNS rebinding);
 * an address in figures cannot be such a name.
 */
export function hostCheck(host: string): (name: string) => boolean {
  if (LOOPBACK.has(host)) return (name) => LOOPBACK.has(name)
  const own = new Set([...LOOPBACK, hostname().toLowerCase(), host.toLowerCase()])
  return (name) => own.has(name) || isIP(name.replace(/^\[(.*)\]$/, '$1')) !== 0
}
