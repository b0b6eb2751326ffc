/**
 * What a listing has to tell besides its entries: names that were passed over, labels and captions that
 * were lost. Everything is counted, and named by a few examples, so that it can be said once, on stderr and
 * in `--json`. Holds a bounded number of names.
 */
import type { PassedOver, SourceNote } from '../../types.js'

/** What may be told, as a sentence about so many things. */
const SENTENCES = {
  labels_lost: () => 'No image has a label, because an image lies beside the class folders',
  empty_class: (n: number) =>
    `${n === 1 ? 'A class folder holds' : `${n} class folders hold`} no image; ${n === 1 ? 'its label stays' : 'their labels stay'} unused`,
  label_range: (n: number) => `${count(n, 'label is', 'labels are')} beyond int32, and null now`,
  label_kind: (n: number) => `${count(n, 'label is', 'labels are')} no whole number and no name, and null now`,
  label_mixed: (n: number) => `${count(n, 'label is', 'labels are')} a name among numbers, and null now`,
  caption_kind: (n: number) => `${count(n, 'caption is', 'captions are')} no text, and null now`,
  caption_list: (n: number) => `${count(n, 'entry has', 'entries have')} several captions: the first one is taken`,
  caption_size: (n: number) => `${count(n, 'caption file is', 'caption files are')} too large, and passed over`,
  fields: (n: number) => `${count(n, 'other field is', 'other fields are')} left out; --metadata keeps them`,
  columns: (n: number) =>
    `${count(n, 'column may be the label', 'columns may be the label')}: choose by --label-column`,
  behind_end: (n: number) => `${count(n, 'archive has', 'archives have')} bytes behind the end that are not members`,
} as const

export type NoteCode = keyof typeof SENTENCES

const EXAMPLES = 3
/** Different names that are told apart, e.g. of fields. */
const MOST_NAMES = 1000

function count(n: number, one: string, many: string): string {
  return `${n} ${n === 1 ? one : many}`
}

export interface ListingReport {
  readonly passedOver: PassedOver
  readonly notes: SourceNote[]
  /** Counts a file or member that is not taken. */
  passOver(name: string): void
  note(code: NoteCode, example: string): void
  /** Like `note`, but the same example counts once. */
  noteName(code: NoteCode, name: string): void
  /** Forgets everything: a listing begins anew. */
  clear(): void
}

export function createListingReport(): ListingReport {
  let passed = 0
  /** The smallest names: they do not depend on the order in which a disk tells them. */
  let examples: string[] = []
  const notes = new Map<NoteCode, { count: number; examples: string[] }>()
  const names = new Map<NoteCode, Set<string>>()
  const add = (code: NoteCode, example: string): void => {
    const note = notes.get(code) ?? { count: 0, examples: [] }
    note.count++
    if (note.examples.length < EXAMPLES) note.examples.push(shortened(example))
    notes.set(code, note)
  }
  return {
    get passedOver() {
      return { count: passed, examples: [...examples] }
    },
    get notes() {
      return [...notes].map(([code, note]) => ({ code, ...note, message: sentence(code, note) }))
    },
    passOver(name) {
      passed++
      const last = examples.at(-1)
      if (examples.length === EXAMPLES && last !== undefined && name >= last) return
      examples = [...examples, shortened(name)].sort().slice(0, EXAMPLES)
    },
    note: add,
    noteName(code, name) {
      const seen = names.get(code) ?? new Set()
      names.set(code, seen)
      if (seen.has(name) || seen.size >= MOST_NAMES) return
      seen.add(name)
      add(code, name)
    },
    clear() {
      passed = 0
      examples = []
      notes.clear()
      names.clear()
    },
  }
}

function sentence(code: NoteCode, { count, examples }: { count: number; examples: string[] }): string {
  const more = count > examples.length ? ', …' : ''
  return `${SENTENCES[code](count)} (${examples.join(', ')}${more}).`
}

function shortened(text: string): string {
  return text.length > 120 ? `${text.slice(0, 119)}…` : text
}

/** "3 files were passed over (a.jfif, b.cls, …)."; undefined for none. */
export function passedOverText({ count: n, examples }: PassedOver): string | undefined {
  if (n === 0) return undefined
  const more = n > examples.length ? ', …' : ''
  return `${count(n, 'other file was', 'other files were')} passed over (${examples.join(', ')}${more}).`
}

/** What listings have told, as `--json` shows it. */
export interface ListingFacts {
  passedOver: PassedOver
  notes: readonly SourceNote[]
}

/** That of several listings, or of none. */
export function joinFacts(listings: readonly ListingFacts[]): ListingFacts {
  const all = listings.map(({ passedOver }) => passedOver)
  return {
    passedOver: {
      count: all.reduce((sum, { count }) => sum + count, 0),
      examples: all.flatMap(({ examples }) => examples).slice(0, EXAMPLES),
    },
    notes: listings.flatMap(({ notes }) => notes),
  }
}

/** Everything that a listing has to tell, a line each. */
export function listingLines({ passedOver, notes }: ListingFacts): string[] {
  return [passedOverText(passedOver), ...notes.map(({ message }) => message)].filter((line) => line !== undefined)
}
