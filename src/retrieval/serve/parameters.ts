/** What a request for results may say, checked before anything is looked for. */
import * as z from 'zod'
import { HttpError } from './http.js'

/** How far one can page. */
export const MAX_RESULTS = 2000
/** Of an answer in JSON, which a page shows at once. */
const MAX_ANSWER = 200

/** A whole number, also as the text of an address. */
const count = (min: number, max: number) =>
  z
    .union([
      z.number(),
      z
        .string()
        .regex(/^-?\d+$/, 'is not a whole number')
        .transform(Number),
    ])
    .pipe(z.int().min(min).max(max))
const size = count(0, 1_000_000).optional()

const searchSchema = z.strictObject({
  q: z.string().max(1000).optional(),
  image: z
    .string()
    .regex(/^[0-9a-f]{16}$/)
    .optional(),
  row: count(0, 2 ** 32).optional(),
  /** Weights of text, image and row. */
  weights: z
    .string()
    .regex(/^-?\d*\.?\d+(,-?\d*\.?\d+){0,2}$/)
    .optional(),
  /** 1: near-duplicates of better results are left out. */
  dedup: count(0, 1).default(0),
  k: count(1, MAX_ANSWER).default(24),
  offset: count(0, MAX_RESULTS).default(0),
  label: z.string().max(200).optional(),
  caption: z.string().max(200).optional(),
  minWidth: size,
  maxWidth: size,
  minHeight: size,
  maxHeight: size,
})
const tableSchema = searchSchema.extend({ k: count(1, MAX_RESULTS).default(MAX_RESULTS) })

export type SearchParameters = z.infer<typeof searchSchema>

/** The parameters of a search; `table` for all that there is, as a file. Throws HttpError 400 `bad_parameter`. */
export function readParameters(parameters: Record<string, unknown>, kind: 'page' | 'table'): SearchParameters {
  // A form sends what was left empty, too.
  const given = Object.entries(parameters).filter(([, value]) => value !== '' && value !== null)
  const parsed = (kind === 'table' ? tableSchema : searchSchema).safeParse(Object.fromEntries(given))
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw new HttpError(400, 'bad_parameter', `${issue?.path.join('.') || 'query'}: ${issue?.message}`)
}
