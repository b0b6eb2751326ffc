/** Class names and templates: the bundled ones of ImageNet, or the user's own, one per line. */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { errorText, usageError } from '../../errors.js'

const bundled = (name: string): string =>
  fileURLToPath(new URL(`../../../models/imagenet-zeroshot/${name}`, import.meta.url))

export interface Prompts {
  classnames: string[]
  /** `{c}` stands for the class name. */
  templates: string[]
  /** For the protocol. */
  description: string
}

/** Reads prompts. Throws usage errors for unreadable or empty files, and for templates without `{c}`. */
export async function readPrompts(classFile: string | undefined, templateFile: string | undefined): Promise<Prompts> {
  const classnames = await readLines(classFile ?? bundled('classnames.json'), '--classnames')
  const templates = (await readLines(templateFile ?? bundled('templates.json'), '--templates')).map((t) =>
    t.replaceAll('{}', '{c}'),
  )
  const bad = templates.find((template) => !template.includes('{c}'))
  if (bad !== undefined)
    throw usageError('bad_template', `The template "${bad}" has no {c}`, ['write e.g. "a photo of a {c}."'])
  const of = (file: string | undefined, own: string): string => (file === undefined ? own : `own (${file})`)
  return {
    classnames,
    templates,
    description: `${classnames.length} class names ${of(classFile, "of OpenAI/OpenCLIP's ImageNet list")} × ${templates.length} templates ${of(templateFile, 'of OpenCLIP')}`,
  }
}

/** A JSON list of texts, or text with one entry per line. */
async function readLines(file: string, flag: string): Promise<string[]> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    throw usageError('file_unreadable', `${flag} ${file} cannot be read: ${errorText(error)}`)
  }
  let lines: unknown = text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter(Boolean)
  if (/^\s*\[/.test(text) && file.endsWith('.json')) {
    try {
      lines = JSON.parse(text)
    } catch (error) {
      throw usageError('bad_list', `${flag} ${file} is no JSON list: ${errorText(error)}`)
    }
  }
  if (!Array.isArray(lines) || lines.length === 0 || !lines.every((line) => typeof line === 'string'))
    throw usageError('bad_list', `${flag} ${file} is no list of texts`, ['write one per line, or a JSON list'])
  return lines
}

export function fillTemplate(template: string, name: string): string {
  return template.replaceAll('{c}', () => name)
}
