/** Recipes as text: YAML or JSON, values that a command line puts in place of others, and what a schema says of them. */
import { readFile } from 'node:fs/promises'
import type * as z from 'zod'
import { errorText, usageError } from '../errors.js'
import { parsePyYaml } from '../io/pyyaml.js'

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** YAML as PyYAML reads it takes `1e-3` for a text; a recipe has no text that looks like a number. */
function withNumbers(value: unknown): unknown {
  if (typeof value === 'string') return /^[-+]?[\d.]+e[-+]?\d+$/i.test(value) ? Number(value) : value
  if (Array.isArray(value)) return value.map(withNumbers)
  if (isObject(value)) return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withNumbers(inner)]))
  return value
}

/** `hyper_parameters.w_ssl=0` → the value at that place. Throws usage error `bad_setting`. */
function withSetting(raw: unknown, setting: string): unknown {
  const at = setting.indexOf('=')
  const keys = setting.slice(0, at).split('.')
  if (at <= 0 || keys.includes(''))
    throw usageError('bad_setting', `--set ${setting} is not KEY=VALUE`, [
      'e.g. --set hyper_parameters.w_ssl=0, with the keys of the recipe',
    ])
  const value = withNumbers(parsePyYaml(setting.slice(at + 1)))
  const put = (inner: unknown, [key, ...rest]: string[]): unknown => ({
    ...(isObject(inner) ? inner : {}),
    [key!]: rest.length === 0 ? value : put(isObject(inner) ? inner[key!] : undefined, rest),
  })
  return put(raw, keys)
}

type Stage = 'joint' | 'decoder'

/** Keys that only recipes of one stage have. */
const OWN_KEYS: Record<Stage, readonly string[]> = {
  joint: ['w_clip', 'w_ssl', 'w_rec', 'schedules'],
  decoder: ['disc_weight', 'disc_start'],
}

const isOf = ({ hyper_parameters: given }: Record<string, unknown>, stage: Stage): boolean =>
  isObject(given) && OWN_KEYS[stage].some((key) => key in given)

export interface RecipeReading<T> {
  schema: z.ZodType<T>
  /** Whose recipe is wanted. */
  stage: Stage
  /** `KEY=VALUE` each. */
  settings?: readonly string[]
}

/** Throws usage errors `bad_setting`, and `bad_recipe` that names every value that is wrong. */
export function parseRecipe<T>(text: string, file: string, { schema, stage, settings = [] }: RecipeReading<T>): T {
  const isYaml = /\.ya?ml$/i.test(file)
  let raw: unknown
  try {
    raw = isYaml ? withNumbers(parsePyYaml(text)) : JSON.parse(text)
  } catch (error) {
    throw usageError('bad_recipe', `${file} is not valid ${isYaml ? 'YAML' : 'JSON'}: ${errorText(error)}`)
  }
  if (!isObject(raw))
    throw usageError('bad_recipe', `${file} is empty, or has no keys`, ['recipes/ has some to begin with'])
  const other: Stage = stage === 'joint' ? 'decoder' : 'joint'
  if (isOf(raw, other) && !isOf(raw, stage))
    throw usageError('bad_recipe', `${file} is a recipe of --stage ${other}; this is --stage ${stage}`, [
      `give --stage ${other}, or a recipe of this stage`,
    ])
  const parsed = schema.safeParse(settings.reduce<unknown>(withSetting, raw))
  if (parsed.success) return parsed.data
  const issues = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`)
  throw usageError('bad_recipe', `${file} is not a recipe of pre-training: ${issues.join('; ')}`, [
    'give {"config": …, "hyper_parameters": …} with the keys that the messages name',
  ])
}

/** Throws usage error `recipe_unreadable`. */
export function readRecipeText(file: string): Promise<string> {
  return readFile(file, 'utf8').catch((error: unknown) => {
    throw usageError('recipe_unreadable', `The recipe ${file} cannot be read: ${errorText(error)}`)
  })
}
