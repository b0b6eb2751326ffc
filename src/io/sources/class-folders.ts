/**
 * Labels of a tree of files, on a disk or in a bucket, as torchvision's ImageFolder gives them: the classes
 * are all folders directly below the root, sorted by code point, also those that hold no image (its
 * `allow_empty=True`), so that no label shifts because of one. Where an image lies beside them there are no
 * labels (ImageFolder would pass over it), which is told.
 */
import type { ListingReport } from './listing-report.js'

export interface ClassFolders {
  /** A folder directly below the root. */
  addFolder(name: string): void
  /** An image in a class folder, or undefined for one directly in the root. */
  addImage(className: string | undefined, name: string): void
  /** After the last image: names by label, or undefined where nothing has a label. Tells what there is to tell. */
  finish(report: ListingReport): ReadonlyMap<string, number> | undefined
}

export function createClassFolders(): ClassFolders {
  const images = new Map<string, boolean>()
  let inFolders = 0
  let atRoot: string | undefined
  return {
    addFolder(name) {
      if (!images.has(name)) images.set(name, false)
    },
    addImage(className, name) {
      if (className !== undefined) {
        images.set(className, true)
        inFolders++
      } else if (atRoot === undefined || name < atRoot) atRoot = name
    },
    finish(report) {
      if (atRoot !== undefined && inFolders > 0) report.note('labels_lost', atRoot)
      if (atRoot !== undefined || inFolders === 0) return undefined
      const names = [...images.keys()].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      for (const [label, name] of names.entries())
        if (!images.get(name)) report.note('empty_class', `${name}, label ${label}`)
      return new Map(names.map((name, label) => [name, label]))
    },
  }
}
