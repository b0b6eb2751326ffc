/**
 * A result that a command writes to a file of the user's choice: beside it first, so that the file is the old
 * one or the whole new one. Whether that can be is known before the work begins.
 */
import { createWriteStream, type WriteStream } from 'node:fs'
import { rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { finished } from 'node:stream/promises'
import { usageError } from '../../errors.js'
import { removeLeftOvers, settle, syncFile, temporaryName } from '../../io/atomic.js'
import { makeFolder } from '../../io/make-folder.js'
import { storageError } from '../../io/storage-error.js'
import { uriScheme } from '../../io/store.js'

export interface Output {
  readonly stream: WriteStream
  /** Ends the stream and gives the file its name. */
  finish(): Promise<void>
  /** Leaves what was there before; nothing after `finish`. */
  abort(): Promise<void>
}

/** Makes the file's folder. Throws usage error `out_unusable`. */
export async function openOutput(file: string, flag = '--out'): Promise<Output> {
  const unusable = (why: string): Error =>
    usageError('out_unusable', `${flag} ${file}: ${why}`, ['give the path of a file on this machine'])
  if (uriScheme(file) !== undefined) throw unusable('it is not a local file')
  const info = await stat(file).catch(() => undefined)
  if (info?.isDirectory() || file.endsWith('/')) throw unusable('it is a folder')
  // Devices and pipes are written to as they are.
  const direct = info !== undefined && !info.isFile()
  const target = direct ? file : temporaryName(file)
  const stream = await makeFolder(path.dirname(path.resolve(file)))
    .then(() => removeLeftOvers(path.dirname(path.resolve(file))))
    .then(() => openStream(target))
    .catch((error: unknown) => {
      throw unusable(storageError('it cannot be written', file, error).message)
    })
  let done = false
  return {
    stream,
    async finish() {
      stream.end()
      try {
        await finished(stream)
        if (!direct) {
          await syncFile(target)
          await settle(target, file)
        }
      } catch (error) {
        throw storageError('Cannot write', file, error)
      }
      done = true
    },
    async abort() {
      if (done) return
      stream.destroy()
      if (!direct) await rm(target, { force: true })
    },
  }
}

function openStream(file: string): Promise<WriteStream> {
  return new Promise((resolve, reject) => {
    const stream = createWriteStream(file)
    stream.once('open', () => {
      stream.off('error', reject)
      // Seen by whoever writes or finishes; alone it must not end the process.
      stream.on('error', () => {})
      resolve(stream)
    })
    stream.once('error', reject)
  })
}
