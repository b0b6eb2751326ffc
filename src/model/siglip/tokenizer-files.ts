/** What a checkpoint's tokenizer is read from; the tokenizer itself (tokenizer.ts) is loaded where there are texts. */

/** The files of a tokenizer among a checkpoint's: `spiece.model` says all; SigLIP 2 has `tokenizer.json`. */
export function tokenizerFiles(files: readonly string[]): string[] {
  if (files.includes('spiece.model')) return ['spiece.model']
  return ['tokenizer.json', 'tokenizer_config.json'].filter((name) => files.includes(name))
}
