import fc from 'fast-check'
import { expect, it } from 'vitest'
import { decodeText } from './decode-text.js'
import { type Line, readLines } from './lines.js'

async function cut(bytes: Buffer, size: number): Promise<Line[]> {
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
  }
  const lines: Line[] = []
  for await (const line of readLines(chunks())) lines.push(line)
  return lines
}

function expectedLines(content: string): string[] {
  const lines = content.split('\n')
  if (lines.at(-1) === '') lines.pop()
  return lines.map((line) => line.replace(/\r$/, ''))
}

const chars = fc.constantFrom('a', 'é', '\n', '\r\n', '"', '😀', 'Ċ', '਍')

it('cuts lines however the bytes come, and tells where each one is', async () => {
  const text = fc.string({ unit: chars, maxLength: 40 })
  await fc.assert(
    fc.asyncProperty(text, fc.integer({ min: 1, max: 9 }), async (content, size) => {
      const bytes = Buffer.from(content)
      const lines = await cut(bytes, size)
      expect(lines.map((line) => line.text)).toEqual(expectedLines(content))
      for (const { text, offset, bytes: length } of lines)
        expect(bytes.subarray(offset, offset + length).toString()).toBe(text)
    }),
  )
})

it('reads UTF-16 of both orders, and UTF-8, with a byte order mark, as the same text', async () => {
  const text = fc.string({ unit: chars, maxLength: 40 })
  await fc.assert(
    fc.asyncProperty(text, fc.integer({ min: 1, max: 9 }), async (content, size) => {
      const little = Buffer.from(`\uFEFF${content}`, 'utf16le')
      const encodings = [little, Buffer.from(little).swap16(), Buffer.from(`\uFEFF${content}`)]
      for (const [i, bytes] of encodings.entries()) {
        const lines = await cut(bytes, size)
        const wanted = expectedLines(`\uFEFF${content}`).map((line) => line.replace('\uFEFF', ''))
        expect(lines.map((line) => line.text)).toEqual(wanted)
        for (const { text, offset, bytes: length } of lines) {
          const encoding = (['utf-16le', 'utf-16be', 'utf-8'] as const)[i]
          expect(decodeText(bytes.subarray(offset, offset + length), encoding)).toBe(text)
        }
      }
    }),
  )
})

it('reads UTF-16 without a mark by its zeros, and keeps the bytes of lines in other encodings', async () => {
  const little = Buffer.from('a.jpg\r\nb.jpg\r\n', 'utf16le')
  for (const bytes of [little, Buffer.from(little).swap16()])
    expect((await cut(bytes, 5)).map(({ text }) => text)).toEqual(['a.jpg', 'b.jpg'])
  const latin1 = Buffer.from('a.jpg\ncaf\xe9.jpg\n', 'latin1')
  const [plain, raw] = await cut(latin1, 3)
  expect(plain?.raw).toBeUndefined()
  expect(raw?.raw?.toString('latin1')).toBe('caf\xe9.jpg')
})
