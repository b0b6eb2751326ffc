/** Runs the check of a provider's attention, by the fused kernel where `fused` is given, and prints what it says. */
import { checkAttention } from '../../src/engine/attention-check.js'
import { errorText } from '../../src/errors.js'

const [provider = 'webgpu', kernel] = process.argv.slice(2)
console.log(await checkAttention(provider, { fused: kernel === 'fused' }).then(() => 'right', errorText))
process.exit()
