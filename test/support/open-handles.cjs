// Preloaded into the program: says at its end which files were opened and never closed, and where.
const promises = require('node:fs/promises')

const { open } = promises
const live = new Map()
promises.open = async (...args) => {
  const { stack } = new Error(`still open: ${args[0]}`)
  const handle = await open(...args)
  live.set(handle, stack)
  handle.once('close', () => live.delete(handle))
  return handle
}
require('node:module').syncBuiltinESMExports()
process.on('exit', () => {
  for (const stack of live.values()) process.stderr.write(`${stack}\n`)
})
