/**
 * Random moments for tests that kill and stop runs. The seed is printed, and VTP_TEST_SEED repeats it: the same
 * moments are drawn again, though the machine's own timing is never the same.
 */
const seed = Number(process.env.VTP_TEST_SEED ?? Date.now() % 2 ** 31)
let state = seed
let printed = false

/** From 0 to 1, without 1: a counter that is mixed (the finaliser of MurmurHash3). */
export function random(): number {
  if (!printed) console.info(`Random moments: VTP_TEST_SEED=${seed} draws them again`)
  printed = true
  state = (state + 0x9e3779b9) | 0
  let x = state
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b)
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35)
  return ((x ^ (x >>> 16)) >>> 0) / 2 ** 32
}
