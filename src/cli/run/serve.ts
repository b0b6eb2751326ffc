/** `vtp serve` between its flags and the server. */
import { once } from 'node:events'
import { choosePrecision } from '../../engine/choose-device.js'
import { cpuDevice } from '../../engine/device.js'
import { openIndexEmbedder } from '../../retrieval/embedder.js'
import { openIndex } from '../../retrieval/open-index.js'
import { startServer } from '../../retrieval/serve/server.js'
import type { CommandContext } from '../base-command.js'
import type { FlagValues } from '../flags/declare.js'
import type { SERVE_FLAGS } from '../flags/retrieval-flags.js'
import { plural } from '../terminal/format.js'
import { onStopSignals } from '../terminal/signals.js'

export type ServeFlags = FlagValues<typeof SERVE_FLAGS> & { index: string }

/** Runs until SIGINT or SIGTERM. The address goes to stdout as soon as it answers. */
export async function runServeCommand(
  { terminal }: CommandContext,
  flags: ServeFlags,
): Promise<{ url: string; index: string }> {
  const { note } = terminal
  const precision = choosePrecision('--precision', flags.precision, 'cpu')
  const device = cpuDevice({ precision })
  const index = await openIndex(flags.index, { threads: device.cores, hold: true })
  try {
    const embedder = await openIndexEmbedder(index.manifest, { model: flags.model, device, onNote: note })
    try {
      // The first search should not wait for the model.
      await embedder.texts(['a photo'])
      const { host, port } = flags
      const server = await startServer(index, embedder, { host, port, onError: note })
      const stop = onStopSignals(() => {})
      const { rows, kind } = index.manifest
      note(`${plural(rows, 'row')} · ${kind} · model ${embedder.model.name} at ${precision} · press Ctrl-C to stop`)
      if (terminal.json) note(server.url)
      terminal.print([server.url])
      if (!stop.signal.aborted) await once(stop.signal, 'abort')
      await server.close()
      stop.release()
      return { url: server.url, index: flags.index }
    } finally {
      await embedder.close()
    }
  } finally {
    await index.close()
  }
}
