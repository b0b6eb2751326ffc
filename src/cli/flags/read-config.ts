import { readFile } from 'node:fs/promises'
import { parse } from 'yaml'
import { errorText, systemCode, usageError } from '../../errors.js'

/** Reads `--config FILE`: a YAML mapping. Throws usage errors. */
export async function readConfigFile(file: string): Promise<Record<string, unknown>> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    const why = systemCode(error) === 'ENOENT' ? 'there is no such file' : errorText(error)
    throw usageError('config_unreadable', `The configuration file ${file} cannot be read: ${why}`, [
      'check the path after --config (or VTP_CONFIG)',
    ])
  }
  let value: unknown
  try {
    value = parse(text)
  } catch (error) {
    throw usageError(
      'config_invalid',
      `${file} is not valid YAML: ${errorText(error).split('\n')[0]!.replace(/:$/, '')}`,
      ['write one "flag: value" per line, e.g. model: nano'],
    )
  }
  if (value === null || value === undefined) return {}
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw usageError(
      'config_invalid',
      `${file} holds ${Array.isArray(value) ? 'a list' : `a ${typeof value}`}, not keys and values`,
      ['write one "flag: value" per line, e.g. model: nano'],
    )
  }
  return value as Record<string, unknown>
}
