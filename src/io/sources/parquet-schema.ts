/** What the schema of a Parquet file says about its columns, as far as tables of images need it (table.ts). */
import type { SchemaTree } from 'hyparquet'
import type { TableColumn } from './table.js'

/** Paths of the columns that hold values. Throws an Error for a schema without names. */
export function leafPaths({ children, path: names }: SchemaTree): string[][] {
  if (names.some((name) => typeof name !== 'string')) throw new Error('the schema has a column without a name')
  return children.length > 0 ? children.flatMap(leafPaths) : [names]
}

function isText({ element }: SchemaTree): boolean {
  return element.converted_type === 'UTF8' || element.logical_type?.type === 'STRING'
}

/** A top column. */
export function tableColumn(tree: SchemaTree): TableColumn {
  const { element, children } = tree
  const { name } = element
  const bytes = (child: SchemaTree): boolean => child.element.type === 'BYTE_ARRAY' && !isText(child)
  const repeated = element.repetition_type === 'REPEATED'
  if (children.some((child) => child.element.name === 'bytes' && bytes(child))) return { name, kind: 'image' }
  if (children.length > 0 || repeated) return { name, kind: 'other' }
  if (isText(tree)) return { name, kind: 'text' }
  if (element.type === 'BYTE_ARRAY') {
    const number = element.converted_type === 'DECIMAL' || element.logical_type?.type === 'DECIMAL'
    return { name, kind: number || element.converted_type === 'JSON' ? 'scalar' : 'bytes' }
  }
  return { name, kind: element.type === 'FIXED_LEN_BYTE_ARRAY' && !element.converted_type ? 'other' : 'scalar' }
}
