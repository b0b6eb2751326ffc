import { expect, it } from 'vitest'
import { redactUrl, shownAddress } from './redact.js'

it.each([
  ['https://h/a.jpg?w=500&page=2', 'https://h/a.jpg?w=500&page=2', false],
  ['https://user:pw@h/a.jpg', 'https://h/a.jpg', true],
  [
    'https://b.s3.amazonaws.com/k?X-Amz-Credential=AKID%2F1&X-Amz-Signature=ab&size=1',
    'https://b.s3.amazonaws.com/k?X-Amz-Credential=…&X-Amz-Signature=…&size=1',
    true,
  ],
  [
    'https://x.blob.core.windows.net/c/k?sv=2024&sp=r&sig=abc',
    'https://x.blob.core.windows.net/c/k?sv=…&sp=…&sig=…',
    true,
  ],
  ['https://h/k?access_token=1', 'https://h/k?access_token=…', true],
  ['https://h/k?id=0123456789012345678901234567890123456789', 'https://h/k?id=…', true],
  ['https:///user:pw@h/a.jpg', 'https:///h/a.jpg', true],
  ['https://proxy/https://user:pw@h/a.jpg', 'https://proxy/https://h/a.jpg', true],
  ['https://h/@user/a.jpg', 'https://h/@user/a.jpg', false],
  ['https://h/k#token=x', 'https://h/k', false],
])('%s', (url, text, secret) => {
  expect(redactUrl(url)).toEqual({ text, secret })
})

it('paths and keys are literal: # and ? belong to the name', () => {
  for (const name of ['a#b?token=1.jpg', '/x/a?b', 's3://bucket/a?sig=b#c']) expect(shownAddress(name)).toBe(name)
  expect(shownAddress(' https://u:p@h/x?sig=1')).toBe(' https://h/x?sig=…')
  expect(shownAddress('s3://AKID:SECRET@bucket/x')).toBe('s3://bucket/x')
})
