/** What `vtp embed` asks of the engine that `vtp encode` uses, too. */
import { usageError } from '../../errors.js'
import type { EncodeFlags } from './encode.js'

/** Throws a usage error unless there is either SOURCE or --text. */
export function embedSource(
  source: string | undefined,
  text: string | undefined,
  captions: boolean,
): Pick<EncodeFlags, 'source' | 'outputs' | 'texts' | 'captionsToo'> {
  if ((source === undefined) === (text === undefined)) {
    const what = source === undefined ? 'There is nothing to embed' : 'SOURCE and --text exclude each other'
    throw usageError('embed_what', what, [
      'vtp embed photos --out embeddings embeds images',
      'vtp embed --text captions.txt --out texts embeds the lines of a file',
    ])
  }
  return text === undefined
    ? { source: source!, outputs: ['clip'], captionsToo: captions }
    : { source: text, outputs: ['text'], texts: true }
}
