import { afterEach, expect, it, vi } from 'vitest'
import { callS3 } from './client.js'

const call = { action: 'Cannot read', operation: 'GetObject', uri: 's3://b/k' }
const noCredentials = (): Error => Object.assign(new Error('none'), { name: 'CredentialsProviderError' })

afterEach(() => vi.unstubAllEnvs())

it('credentials that nobody has promised are wrong usage at once; those of a role are waited for', async () => {
  let tries = 0
  const send = async (): Promise<void> => {
    tries++
    throw noCredentials()
  }
  await expect(callS3(call, send)).rejects.toMatchObject({ code: 's3_no_credentials', exitCode: 2 })
  expect(tries).toBe(1)
  vi.stubEnv('AWS_ROLE_ARN', 'arn:aws:iam::1:role/x')
  vi.stubEnv('AWS_MAX_ATTEMPTS', '3')
  await expect(callS3(call, send)).rejects.toMatchObject({ code: 's3_credentials_unavailable', exitCode: 3 })
  expect(tries).toBe(4)
})

it('tries again when credentials fail after a request has succeeded', async () => {
  await callS3(call, async () => 'fine')
  let tries = 0
  const result = await callS3(call, async () => {
    if (++tries < 3) throw noCredentials()
    return tries
  })
  expect(result).toBe(3)
})
