/**
 * Whether a text looks like mojibake: characters next to each other that hardly ever are, unless UTF-8 was
 * read as another encoding. The rules are those of ftfy 6.3.1 (ftfy/badness.py), whose character classes lie
 * in the tables; here `{name}` inside brackets stands for a class.
 */
import { PYTHON_SPACE } from './python-text.js'
import { classOf, textTables } from './tables.js'

const ACCENTED = '{lower_accented}{upper_accented}'
const MARKS = '{box}{start_punctuation}{end_punctuation}{currency}{numeric}{law}'
const ARABIC = '[{common}{currency}{bad}{numeric}{start_punctuation}ŸŠ®°µ»]'
const PUNCTUATION = '{start_punctuation}{end_punctuation}'

const RULES = [
  '[{c1}]',
  `[{bad}${ACCENTED}${MARKS}][{bad}]`,
  '[a-zA-Z][{lower_common}{upper_common}][{bad}]',
  `[{bad}][${ACCENTED}${MARKS}]`,
  '[{lower_accented}{lower_common}{box}{end_punctuation}{currency}{numeric}][{upper_accented}]',
  '[{box}{end_punctuation}{currency}{numeric}][{lower_accented}]',
  '[{lower_accented}{box}{end_punctuation}][{currency}]',
  `[${PYTHON_SPACE}][{upper_accented}][{currency}]`,
  '[{upper_accented}{box}][{numeric}{law}]',
  `[${ACCENTED}{box}{currency}{end_punctuation}][{start_punctuation}][{numeric}]`,
  `[${ACCENTED}{currency}{numeric}{box}{law}][{end_punctuation}][{start_punctuation}]`,
  '[{currency}{numeric}{box}][{start_punctuation}]',
  '[a-z][{upper_accented}][{start_punctuation}{currency}]',
  '[{box}][{kaomoji}]',
  `[${ACCENTED}{currency}{numeric}${PUNCTUATION}{law}][{box}]`,
  '[{box}][{end_punctuation}]',
  `[${ACCENTED}][${PUNCTUATION}][\\p{L}\\p{N}_]`,
  // The ligature œ before anything but a Latin letter; degree signs after capitals.
  '[Œœ][^A-Za-z]',
  '[{upper_accented}]°',
  // Two characters of Windows-1252.
  `[ÂÃÎÐ][€œŠš¢£Ÿž\\xa0\\xad®©°·»${PUNCTUATION}–—´]`,
  '×[²³]',
  // Arabic in Windows-1252 needs four characters, as they are common ones.
  `[ØÙ]${ARABIC}[ØÙ]${ARABIC}`,
  // The start of three characters of South Asian alphabets.
  'à[²µ¹¼½¾]',
  // MacRoman.
  '√[±∂†≠®™´≤≥¥µø]',
  '≈[°¢]',
  '‚Ä[ìîïòôúùû†°¢π]',
  '‚[âó][àä°ê]',
  // Windows-1251: punctuation, then Latin-1 or Cyrillic, then twice encoded.
  'вЂ',
  `[ВГРС][{c1}{bad}${PUNCTUATION}{currency}°µ][ВГРС]`,
  'ГўВЂВ[^\\n][A-Za-z ]',
  // à, á and the no-break space in Windows-1252.
  'Ã[\\xa0¡]',
  `[a-z][${PYTHON_SPACE}]?[ÃÂ] `,
  '^[ÃÂ] ',
  // Â before a character that is encoded as itself.
  `[a-z.,?!{end_punctuation}]Â[ ${PUNCTUATION}]`,
  // Windows-1253: punctuation, then Latin-1 or Greek.
  'β€[™\\xa0Ά\\xad®°]',
  `[ΒΓΞΟ][{c1}{bad}${PUNCTUATION}{currency}°][ΒΓΞΟ]`,
  // Windows-1257.
  'ā€',
]

let pattern: RegExp | undefined

export function looksLikeMojibake(text: string): boolean {
  if (!pattern) {
    const classes = textTables().badness
    const source = RULES.join('|').replace(/\{([a-z_]+[0-9]?)\}/g, (_, name: string) => classOf(classes[name]!))
    pattern = new RegExp(source, 'u')
  }
  return pattern.test(text)
}
