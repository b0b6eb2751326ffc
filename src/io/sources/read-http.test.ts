import { expect, it } from 'vitest'
import { isPrivateAddress } from './read-http.js'

it('knows every kind of address that is no public host', () => {
  const inside = ['127.0.0.1', '10.1.2.3', '172.31.0.1', '192.168.1.1', '169.254.169.254', '100.64.0.1', '0.0.0.0']
  const inside6 = ['::1', '::', 'fe80::1', 'fd00:ec2::254', '::ffff:127.0.0.1', '[::1]', '64:ff9b::7f00:1', 'ff02::1']
  for (const address of [
    ...inside,
    ...inside6,
    '224.0.0.1',
    '255.255.255.255',
    '2002:7f00:1::',
    '192.88.99.1',
    '2001:20::1',
    '3fff::1',
    'no address',
  ])
    expect(isPrivateAddress(address), address).toBe(true)
  for (const address of ['1.1.1.1', '93.184.216.34', '172.32.0.1', '2606:4700:4700::1111', '2a00:1450:4001::200e'])
    expect(isPrivateAddress(address), address).toBe(false)
})
