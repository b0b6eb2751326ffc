/** The image of a row of a Parquet file, as `readTableImage` takes it: a value, or a struct's `bytes` or `path`. */
import type { SchemaTree } from 'hyparquet'
import { type ColumnOptions, isSingle, openColumn } from '../parquet/column.js'
import type { RangeReader } from '../range-reader.js'
import { topField } from './fields.js'

export interface ImageColumn {
  /** The image of a row of a row group; undefined where it has none. */
  value(group: number, row: number): Promise<unknown>
}

/** `name` is a top column, or leads by dots into its structs. A column of lists has no images. */
export function openImageColumn(reader: RangeReader, name: string, options: Omit<ColumnOptions, 'path'>): ImageColumn {
  const node = findNode(options.schema, name)
  const open = (leaf: SchemaTree | undefined): ImageColumn | undefined =>
    leaf && leaf.children.length === 0 && isSingle(options.schema, leaf.path)
      ? openColumn(reader, { ...options, path: leaf.path })
      : undefined
  const whole = open(node)
  if (whole) return whole
  const child = (field: string): ImageColumn | undefined =>
    open(node?.children.find(({ element }) => element.name === field))
  const [bytes, path] = [child('bytes'), child('path')]
  return {
    async value(group, row) {
      const stored = await bytes?.value(group, row)
      // The path is only wanted, and read, where there are no bytes.
      return stored instanceof Uint8Array ? stored : { path: await path?.value(group, row) }
    },
  }
}

function findNode(schema: SchemaTree, name: string): SchemaTree | undefined {
  const top = topField(
    name,
    schema.children.map(({ element }) => element.name),
  )
  const steps = top === undefined || top === name ? [] : name.slice(top.length + 1).split('.')
  let node = schema.children.find(({ element }) => element.name === top)
  for (const step of steps) node = node?.children.find(({ element }) => element.name === step)
  return node
}
