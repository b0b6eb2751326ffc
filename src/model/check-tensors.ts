/** Whether a checkpoint holds the tensors that its configuration implies: one message names all that is wrong. */
import { VtpError } from '../errors.js'
import { isFloat, type StoredTensor } from '../io/weights.js'

/** Shapes by tensor name. */
export type Shapes = Map<string, readonly number[]>

function few(names: string[]): string {
  const shown = names.slice(0, 40).join(', ')
  return names.length > 40 ? `${shown} and ${names.length - 40} more` : shown
}

export interface CheckOptions {
  /** The folder or file, for the message. */
  place: string
  /** Where the sizes come from; default its config.json. */
  config?: string
  /** Tensors that may be there and mean nothing: buffers, what only training needs. */
  ignored?: (name: string) => boolean
  /** Tensors of `expected` that may be absent. */
  optional?: ReadonlySet<string>
}

/** Throws VtpError `bad_checkpoint` that names every missing, extra and mis-shaped tensor. */
export function checkTensors(
  expected: Shapes,
  tensors: ReadonlyMap<string, StoredTensor>,
  { place, config = 'its config.json', ignored, optional }: CheckOptions,
): void {
  const missing: string[] = []
  const wrong: string[] = []
  for (const [name, shape] of expected) {
    const tensor = tensors.get(name)
    if (!tensor) {
      if (!optional?.has(name)) missing.push(name)
    } else if (tensor.shape.join() !== shape.join()) wrong.push(`${name} is [${tensor.shape}], expected [${shape}]`)
    else if (!isFloat(tensor)) wrong.push(`${name} is ${tensor.dtype}, expected a float type`)
  }
  const extra = [...tensors.keys()].filter((name) => !expected.has(name) && !ignored?.(name))
  const parts: string[] = []
  if (missing.length > 0) parts.push(`missing (${missing.length}): ${few(missing)}`)
  if (extra.length > 0) parts.push(`not expected (${extra.length}): ${few(extra)}`)
  if (wrong.length > 0) parts.push(`of another shape or type (${wrong.length}): ${few(wrong)}`)
  if (parts.length === 0) return
  throw new VtpError(
    `The checkpoint in ${place} does not fit ${config}. Tensors\n${parts.map((p) => `  ${p}`).join('\n')}`,
    {
      code: 'bad_checkpoint',
      exitCode: 2,
      suggestions: ['check that the configuration and the weights are of the same model and revision'],
    },
  )
}
