/**
 * Reference cases on a device: a row per output, and at the end whether all are within tolerance (exit code 1 where
 * one is not). In fp32 the tolerance is the case's own; `--tolerance` gives another one, which other precisions need.
 *
 *   npx tsx scripts/gpu/parity.ts DEVICE [CASE…] [--precision fp32] [--tolerance 0.02] [--networks encoder,decoder,text]
 *     [--json]
 *
 * A case is a folder of reference data or its name; without any: all of VTP and of the other families. Without a GPU
 * the device `webgpu` runs on SwiftShader, a Vulkan driver in software in Debian's package chromium-common:
 *
 *   VK_ICD_FILENAMES=/usr/lib/chromium/vk_swiftshader_icd.json XDG_RUNTIME_DIR=/tmp \
 *   LD_LIBRARY_PATH=/usr/lib/chromium npx tsx scripts/gpu/parity.ts webgpu vtp_h_patch8_odd
 */
import { readdirSync, statSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { chooseDevice } from '../../src/engine/choose-device.js'
import { errorText } from '../../src/errors.js'
import { goldenPath } from '../../test/golden.js'
import { closeLast, compareCase, isWithin, type ParityRow } from '../../test/support/device-parity.js'
import { PEER_CASES } from '../../test/support/peers.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    precision: { type: 'string', default: 'fp32' },
    tolerance: { type: 'string' },
    networks: { type: 'string', default: 'encoder,decoder,text' },
    json: { type: 'boolean', default: false },
  },
})
const [name = 'webgpu', ...given] = positionals
const device = chooseDevice({ device: name, precision: values.precision, requireGpu: false })
const vtpCases = (): string[] =>
  readdirSync(goldenPath('models')).filter((entry) => statSync(goldenPath('models', entry)).isDirectory())
const cases = given.length > 0 ? given : [...vtpCases(), ...PEER_CASES.map(([entry]) => entry)]
const networks = values.networks.split(',')
const most = values.tolerance === undefined ? undefined : Number(values.tolerance)

function print(row: ParityRow, within: boolean): void {
  if (values.json) console.log(JSON.stringify({ ...row, within }))
  else {
    const cells = [row.case, row.network, row.output, row.rel_l2.toExponential(1), `${row.seconds.toFixed(1)} s`]
    console.log([...cells, within ? 'ok' : `BEYOND ${(most ?? row.tolerance.rel_l2).toExponential(1)}`].join('\t'))
  }
}

let [rows, beyond, failed] = [0, 0, 0]
for (const one of cases) {
  const file = PEER_CASES.find(([entry]) => entry === one)?.[1]
  try {
    for await (const row of compareCase(one, device, { file, networks })) {
      const within = most === undefined ? isWithin(row) : row.rel_l2 <= most
      print(row, within)
      rows++
      if (!within) beyond++
    }
  } catch (error) {
    failed++
    console.error(`${one}\t${errorText(error)}`)
  }
}
await closeLast()
const verdict = `${rows} outputs, ${beyond} beyond tolerance; ${failed} of ${cases.length} cases failed`
console.error(`${device.summary}: ${verdict}`)
if (beyond + failed > 0 || rows === 0) process.exitCode = 1
