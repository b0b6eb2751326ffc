/**
 * Labels as data sets write them → what an int32 column can hold. A whole number is a label, also as a float
 * or as text (`3`, `3.0`, `"3"`); another text is the name of a class (class-names.ts makes an index of it);
 * null and NaN are no label. Anything else loses its label and is told of, never the image.
 */

/** At most one of the fields is there; none for a missing label. */
export interface LabelValue {
  label?: number
  className?: string
  /** Why there is no label. */
  problem?: 'label_range' | 'label_kind'
}

const LONGEST_NAME = 1000

export function readLabel(value: unknown): LabelValue {
  if (value === undefined || value === null) return {}
  if (typeof value === 'boolean') return { label: Number(value) }
  if (typeof value === 'number') return Number.isNaN(value) ? {} : wholeNumber(value)
  if (typeof value === 'bigint') return wholeNumber(Number(value))
  if (typeof value !== 'string') return { problem: 'label_kind' }
  const text = value.replace(/^\uFEFF/, '').trim()
  // A table of pandas writes a missing value as nan.
  if (/^(nan)?$/i.test(text)) return {}
  // Other numbers in words of a program ("0x10", "1e3") are names: Python's int() does not read them either.
  if (/^[+-]?\d+(_\d+)*$/.test(text)) return wholeNumber(Number(text.replaceAll('_', '')))
  if (/^[+-]?(\d+\.\d*|\.\d+)$/.test(text)) return wholeNumber(Number(text))
  return text.length > LONGEST_NAME ? { problem: 'label_kind' } : { className: text }
}

function wholeNumber(value: number): LabelValue {
  if (!Number.isFinite(value)) return { problem: 'label_range' }
  if (!Number.isInteger(value)) return { problem: 'label_kind' }
  // Also −0, which JSON would write as 0.
  return value === (value | 0) ? { label: value | 0 } : { problem: 'label_range' }
}
