import { expect, it } from 'vitest'
import { createByteCache, type Sized } from './byte-cache.js'

const sized = (value: string, bytes: number) => async (): Promise<Sized<string>> => ({ value, bytes })
const none = async (): Promise<Sized<string>> => ({ value: 'made again', bytes: 1 })

it('keeps what was used last, within the limit', async () => {
  const cache = createByteCache(10)
  await cache.get('a', sized('A', 4))
  await cache.get('b', sized('B', 4))
  expect(await cache.get('a', none)).toBe('A')
  await cache.get('c', sized('C', 4))
  expect(await cache.get('a', none)).toBe('A')
  expect(await cache.get('b', none)).toBe('made again')
})

it('keeps a value that is larger than the limit until another one comes', async () => {
  const cache = createByteCache(10)
  await cache.get('large', sized('L', 100))
  expect(await cache.get('large', none)).toBe('L')
  await cache.get('small', sized('S', 1))
  expect(await cache.get('large', none)).toBe('made again')
})

it('makes a value once for all who ask meanwhile, and again after an error', async () => {
  const cache = createByteCache(10)
  let made = 0
  const make = async (): Promise<Sized<number>> => ({ value: ++made, bytes: 1 })
  expect(await Promise.all([cache.get('a', make), cache.get('a', make)])).toEqual([1, 1])
  const failing = cache.get('b', () => Promise.reject(new Error('no')))
  await expect(failing).rejects.toThrow('no')
  expect(await cache.get('b', make)).toBe(2)
})

it('a value that needs another one of the cache stays, and room is made before it is there', async () => {
  const cache = createByteCache(10)
  await cache.get('old', sized('O', 8))
  await cache.get('page', async (reserve) => {
    await cache.get('dictionary', sized('D', 9))
    reserve(8)
    expect(cache.peek('old')).toBeUndefined()
    return { value: 'P', bytes: 8 }
  })
  expect(await cache.get('page', none)).toBe('P')
  expect(cache.peek('dictionary')).toBeUndefined()
})
