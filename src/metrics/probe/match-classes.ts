/** The classes of the two sets of a probe. */
import { usageError } from '../../errors.js'

export interface Classes {
  /** One more than the largest label, or the folders. */
  classes: number
  /** By label, for sources that have them. */
  names: readonly string[] | undefined
}

export function otherClasses(message: string): Error {
  return usageError('classes_mismatch', message, ['give sets with the same classes'])
}

/**
 * The training set's label for each label of the validation set: by names where both have them, else the same number.
 * Sets come with what the user calls them. Throws usage error `classes_mismatch` for a class that the training set lacks.
 */
export function matchClasses(
  [trainSpec, train]: [string, Classes],
  [valSpec, val]: [string, Classes],
): (label: number) => number {
  const [known, names] = [train.names, val.names]
  if (known && names) {
    const labels = new Map(known.map((name, label) => [name, label]))
    const strange = names.filter((name) => !labels.has(name))
    if (strange.length === 0) return (label) => labels.get(names[label]!)!
    const more = strange.length > 3 ? ` and ${strange.length - 3} more` : ''
    throw otherClasses(`${valSpec} has classes that ${trainSpec} lacks: ${strange.slice(0, 3).join(', ')}${more}`)
  }
  if (val.classes > train.classes)
    throw otherClasses(`${valSpec} has ${val.classes} classes, ${trainSpec} has ${train.classes}`)
  return (label) => label
}
