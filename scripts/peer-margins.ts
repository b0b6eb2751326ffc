/**
 * Prints how far each reference case of the peers is from the official code, as a table in Markdown: per case the
 * number of float outputs, the output that comes nearest to its tolerance, its error, and the tolerance over the error.
 *
 *   npx tsx scripts/peer-margins.ts
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { openModel } from '../src/model/index.js'
import { goldenPath } from '../test/golden.js'
import { encodeCase, openPeerCase, PEER_CASES, relativeErrors } from '../test/support/peers.js'

const cacheDir = mkdtempSync(path.join(tmpdir(), 'vtp-margins-'))
const scientific = (value: number): string => value.toExponential(1)
console.log(
  '| case | outputs | nearest to its tolerance | error (rel_l2) | tolerance | margin | worst rel_max margin |',
)
console.log('|---|---:|---|---:|---:|---:|---:|')
for (const [name, file] of PEER_CASES) {
  const peer = await openPeerCase(name)
  const model = await openModel(file ? goldenPath('peers', name, file) : peer.folder, { cacheDir })
  const outputs = await encodeCase(peer, model)
  const floats = Object.keys(outputs).filter((key) => key !== 'codes')
  const rows = await Promise.all(
    floats.map(async (key) => {
      const { tolerance } = peer.expected.outputs[key]!
      const error = relativeErrors(outputs[key]!.data, await peer.golden.readFloat32(key))
      const margins = { l2: tolerance!.rel_l2 / error.rel_l2, max: tolerance!.rel_max / error.rel_max }
      return { key, error, tolerance: tolerance!, margins }
    }),
  )
  const nearest = rows.reduce((a, b) => (b.margins.l2 < a.margins.l2 ? b : a))
  const worstMax = Math.min(...rows.map(({ margins }) => margins.max))
  const cells = [
    ...[name, `${floats.length}${'codes' in outputs ? ', codes exact' : ''}`, `\`${nearest.key}\``],
    ...[scientific(nearest.error.rel_l2), scientific(nearest.tolerance.rel_l2)],
    ...[`${nearest.margins.l2.toFixed(1)}×`, `${worstMax.toFixed(1)}×`],
  ]
  console.log(`| ${cells.join(' | ')} |`)
  await Promise.all([peer.golden.close(), model.close()])
}
rmSync(cacheDir, { recursive: true, force: true })
