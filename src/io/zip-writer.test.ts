import { open } from 'node:fs/promises'
import path from 'node:path'
import { expect, it } from 'vitest'
import { tempDir } from '../../test/support/cli.js'
import { readZipDirectory, readZipMember } from './zip.js'
import { openZipWriter } from './zip-writer.js'

it.each([
  ['below 4 GiB', 0],
  ['on the edge of it', 2 ** 32 - 100],
  ['beyond it', 9e9],
])('members that lie %s are found again', async (_, from) => {
  const file = path.join(tempDir(), 'a.zip')
  // A hole stands for what lies before: the file takes no space.
  const handle = await open(file, 'w+')
  let at = from
  const zip = openZipWriter(async (bytes) => {
    await handle.write(bytes, 0, bytes.length, at)
    at += bytes.length
  }, from)
  for (let i = 0; i < 5; i++) await zip.add(`member ${i}`, Buffer.from(`contents ${i}`))
  await zip.finish()
  const members = await readZipDirectory(handle, file)
  expect(members.size).toBe(5)
  for (let i = 0; i < 5; i++) {
    const member = members.get(`member ${i}`)!
    expect(member.offset % 64).toBe(0)
    expect((await readZipMember(handle, file, member)).toString()).toBe(`contents ${i}`)
  }
  await handle.close()
})
