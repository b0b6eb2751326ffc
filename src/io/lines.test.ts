import fc from 'fast-check'
import { expect, it } from 'vitest'
import { type Line, readLines } from './lines.js'

it('cuts lines however the bytes come, and tells where each one is', async () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'é', '\n', '\r\n', '"', '😀'), maxLength: 40 })
  await fc.assert(
    fc.asyncProperty(text, fc.integer({ min: 1, max: 9 }), async (content, size) => {
      const bytes = Buffer.from(content)
      async function* chunks(): AsyncGenerator<Uint8Array> {
        for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
      }
      const lines: Line[] = []
      for await (const line of readLines(chunks())) lines.push(line)
      const expected = content.split('\n')
      if (expected.at(-1) === '') expected.pop()
      expect(lines.map((line) => line.text)).toEqual(expected.map((line) => line.replace(/\r$/, '')))
      for (const { text, offset, bytes: length } of lines)
        expect(bytes.subarray(offset, offset + length).toString()).toBe(text)
    }),
  )
})
