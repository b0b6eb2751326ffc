/** Class names and templates: the bundled ones of ImageNet, or the user's own, one per line. */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { errorText, usageError } from '../../errors.js'
import { packageFile } from '../../package.js'

const bundled = (name: string): string => fileURLToPath(packageFile(`models/imagenet-zeroshot/${name}`))

export interface Prompts {
  classnames: string[]
  /** `{c}` stands for the class name. */
  templates: string[]
  /** For the protocol. */
  description: string
}

/** Instead of a file: the names of the source's own classes. */
export const FOLDER_NAMES = 'folder'

/** "sea_snake" and "sea-snake" are folders, "sea snake" is what a text says. */
const nameOfFolder = (name: string): string => name.replaceAll(/[_-]+/g, ' ').trim()

function folderNames(classes: readonly string[] | undefined): string[] {
  if (classes && classes.length > 0) return classes.map(nameOfFolder)
  throw usageError('no_class_names', `--classnames ${FOLDER_NAMES}: the source has no named classes`, [
    'give a folder of class folders',
    'or a file with one name per line: --classnames FILE',
  ])
}

/**
 * Reads the files of prompts, once: they may be pipes. The rest waits for the source's own classes, which
 * --classnames folder asks for. Throws usage errors for unreadable or empty files, and for templates without
 * a place for the name.
 */
export async function readPrompts(
  classFile: string | undefined,
  templateFile: string | undefined,
): Promise<(classes?: readonly string[]) => Prompts> {
  const own = classFile === FOLDER_NAMES
  const given = own ? undefined : await readLines(classFile ?? bundled('classnames.json'), '--classnames')
  const templates = (await readLines(templateFile ?? bundled('templates.json'), '--templates')).map((t) =>
    t.replaceAll('{}', '{c}'),
  )
  const bad = templates.find((template) => !template.includes('{c}'))
  if (bad !== undefined)
    throw usageError('bad_template', `The template "${bad}" has no place for the name`, [
      'write {} or {c} where the name goes, e.g. "a photo of a {}."',
    ])
  const of = (file: string | undefined, own: string): string => (file === undefined ? own : `own (${file})`)
  return (classes) => {
    const classnames = given ?? folderNames(classes)
    return {
      classnames,
      templates,
      description: `${classnames.length} class names ${own ? 'of the class folders' : of(classFile, "of OpenAI/OpenCLIP's ImageNet list")} × ${templates.length} templates ${of(templateFile, 'of OpenCLIP')}`,
    }
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
      throw usageError('bad_list', `${flag} ${file} is not a JSON list: ${errorText(error)}`)
    }
  }
  if (!Array.isArray(lines) || lines.length === 0 || !lines.every((line) => typeof line === 'string'))
    throw usageError('bad_list', `${flag} ${file} is not a list of texts`, ['write one per line, or a JSON list'])
  return lines
}

export function fillTemplate(template: string, name: string): string {
  return template.replaceAll('{c}', () => name)
}
