/** How a source is read, beside its name: what flags of the command line may say. */

/** Names of fields or columns, where they are not the usual ones. A dot leads into a struct: `meta.label`. */
export interface FieldNames {
  image?: string
  label?: string
  caption?: string
  key?: string
}

export interface SourceOptions {
  /** The standard input, for SOURCE `-`. */
  stdin?: AsyncIterable<Uint8Array>
  /** Fields of lists, columns of tables. */
  fields?: FieldNames
  /** Whether entries carry the source's other fields, as one JSON object. */
  metadata?: boolean
  /** At most so many entries, from the start. Labels are those of the whole source. */
  limit?: number
  /** Largest file of one image in bytes. */
  maxBytes?: number
  /** Whether http(s) addresses in lists may lead to private networks. */
  allowPrivateUrls?: boolean
}
