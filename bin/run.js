#!/usr/bin/env node
// CommonJS on purpose (bin/package.json): an ES module entry is read through libuv's pool on Node 20, which
// fixes the pool's size before this line runs. sharp decodes in that pool, beside reads and hashing.
const { availableParallelism } = require('node:os')
const path = require('node:path')

// Before anything can load ONNX Runtime (src/engine/telemetry-off.ts).
process.env.ORT_DISABLE_TELEMETRY = '1'
process.env.UV_THREADPOOL_SIZE ??= String(Math.max(4, availableParallelism() + 2))
import('../dist/cli/main.js').then(
  ({ main }) => main({ root: path.join(__dirname, '..'), argv: process.argv.slice(2) }),
  (error) => {
    const notBuilt =
      error.code === 'ERR_MODULE_NOT_FOUND' && !require('node:fs').existsSync(path.join(__dirname, '../dist'))
    process.stderr.write(`Error: ${notBuilt ? 'vtp is not built yet\nTry: npm run build' : error.message}\n`)
    process.exitCode = 3
  },
)
