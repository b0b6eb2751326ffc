/** Files of tensors that a user names. */
import { stat } from 'node:fs/promises'
import { usageError } from '../errors.js'

/** Throws a usage error of this code for what is no file, or by its name one of text. `named`: how its sentence begins. */
export async function assertTensorFile(file: string, code: string, named = file): Promise<void> {
  const isText = /\.(ya?ml|jsonl?|txt|csv|md)$/i.test(file)
  if (!isText && (await stat(file).catch(() => undefined))?.isFile()) return
  throw usageError(code, `${named} is not a file${isText ? ' of tensors' : ''}`, [
    'give a .pt file of train.py or of `vtp train`, or a .safetensors file',
  ])
}
