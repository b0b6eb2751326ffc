/** Reference cases whose vocabularies are smaller than any tokenizer, made large enough for one: for tests that read texts. */
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { encodeSafetensorsHeader, openSafetensors } from '../../src/io/safetensors.js'
import { goldenPath } from '../golden.js'

/** Pieces of the reference data's tokenizer. */
const VOCABULARY = 1200

/** A copy of a case of SigLIP or VILA-U in `folder`, with `spiece.model` and as many rows of the token table as it has pieces. */
export async function withTokenizer(name: string, folder: string): Promise<string> {
  cpSync(goldenPath('peers', name), folder, { recursive: true })
  cpSync(goldenPath('peers', 'siglip_tokenizer', 'spiece.model'), path.join(folder, 'spiece.model'))
  await growTable(path.join(folder, 'model.safetensors'))
  for (const file of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (path.basename(file) !== 'config.json') continue
    const at = path.join(folder, file)
    writeFileSync(at, readFileSync(at, 'utf8').replace(/"vocab_size": *\d+/, `"vocab_size": ${VOCABULARY}`))
  }
  return folder
}

/** Repeats the rows of the token table. */
async function growTable(file: string): Promise<void> {
  const weights = await openSafetensors(file)
  const entries: Parameters<typeof encodeSafetensorsHeader>[0] = []
  const bytes: Uint8Array[] = []
  for (const { name, dtype, shape } of weights.tensors.values()) {
    let stored = await weights.readBytes(name)
    const [rows = 0, ...rest] = shape
    const isTable = name.endsWith('token_embedding.weight')
    if (isTable) {
      const row = stored.length / rows
      stored = Buffer.concat(
        Array.from({ length: VOCABULARY }, (_, i) => stored.subarray((i % rows) * row, ((i % rows) + 1) * row)),
      )
    }
    entries.push({ name, dtype, shape: isTable ? [VOCABULARY, ...rest] : [...shape] })
    bytes.push(stored)
  }
  await weights.close()
  writeFileSync(file, Buffer.concat([encodeSafetensorsHeader(entries).bytes, ...bytes]))
}
