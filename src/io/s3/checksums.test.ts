import { expect, it } from 'vitest'
import { checksumOf } from './checksums.js'

it('checksums are those of the published check values', () => {
  const hex = (algorithm: string): string =>
    Buffer.from(checksumOf(algorithm, Buffer.from('123456789'))!, 'base64').toString('hex')
  expect(hex('crc32')).toBe('cbf43926')
  expect(hex('crc32c')).toBe('e3069283')
  expect(hex('crc64nvme')).toBe('ae8b14860a799888')
  expect(hex('sha1')).toBe('f7c3bc1d808e04732adf679965ccc34ca7ae3441')
  expect(checksumOf('xxhash3', Buffer.from('1'))).toBeUndefined()
})
