/** The page of `vtp serve` in a real browser, driven as a person would. */
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { launchChromium } from '../support/chromium.js'
import { repoRoot } from '../support/cli.js'
import { buildIndexOf, type RunningServer, startServe } from '../support/search-server.js'

const dir = mkdtempSync(path.join(tmpdir(), 'vtp page '))
const photos = path.join(dir, 'photos')
const cat = path.join(photos, 'people and animals', 'chelsea the cat.png')
let server: RunningServer
let browser: Browser
let page: Page
const complaints: string[] = []

beforeAll(async () => {
  cpSync(path.join(repoRoot, 'fixtures', 'images'), photos, { recursive: true })
  const index = await buildIndexOf(photos, dir, 'exact')
  ;[server, browser] = await Promise.all([startServe(index), launchChromium()])
  page = await browser.newPage({ viewport: { width: 1280, height: 800 } })
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()))
}, 600_000)
afterAll(async () => {
  await browser?.close()
  await server?.stop()
  rmSync(dir, { recursive: true, force: true })
})
beforeEach(async () => {
  complaints.length = 0
  await page.goto(server.url)
  await page.locator('#total').filter({ hasText: '13' }).waitFor()
})

const names = (): Promise<string[]> => page.locator('.result .name').allTextContents()
/** The first upload waits for the model. */
const poll = <T>(look: () => Promise<T> | T) => expect.poll(look, { timeout: 20_000 })
const settled = (text: RegExp): Promise<void> => page.locator('#status').filter({ hasText: text }).waitFor()

describe('the page', () => {
  it('shows the same images from all over the index before the first query, and narrows them down', async () => {
    await settled(/13 images from all over the index/)
    const sample = await names()
    expect([sample.length, new Set(sample).size]).toEqual([13, 13])
    expect(await page.locator('.result .score').count()).toBe(0)
    await page.reload()
    await settled(/13 images/)
    expect(await names()).toEqual(sample)
    await page.click('#filters-toggle')
    await page.selectOption('#label', { label: 'things' })
    await settled(/5 images/)
    expect((await names()).every((name) => name.startsWith('things'))).toBe(true)
  })

  it('hides near-duplicates by a switch that stays with the query', async () => {
    await page.fill('#q', 'a cat')
    await page.check('#dedup')
    await settled(/results/)
    expect(page.url()).toMatch(/q=a\+cat&dedup=1/)
    await page.reload()
    await settled(/results/)
    expect(await page.isChecked('#dedup')).toBe(true)
    await page.uncheck('#dedup')
    await poll(() => page.url()).not.toMatch(/dedup/)
  })

  it('saves what it shows as CSV, and opens the original of an image', async () => {
    await page.fill('#q', 'a cat')
    await page.keyboard.press('Enter')
    await settled(/13 results/)
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#export')])
    const lines = readFileSync(await download.path(), 'utf8')
      .trimEnd()
      .split('\r\n')
    expect([download.suggestedFilename(), lines.length]).toEqual(['results.csv', 14])
    const first = page.locator('.result').first()
    expect(lines[1]).toContain((await first.locator('.name').getAttribute('title'))!)
    await first.locator('.info').click()
    const href = await page.locator('#details-original').getAttribute('href')
    const original = await page.request.get(new URL(href!, server.url).href)
    expect([original.status(), original.headers()['content-type']]).toEqual([200, expect.stringMatching(/^image\//)])
  })

  it('searches as one types: results with pictures, scores and times', async () => {
    expect(await page.locator(':focus').getAttribute('id')).toBe('q')
    await page.keyboard.type('a cat')
    await page.keyboard.press('Enter')
    await settled(/13 results · [\d.]+ ms/)
    const first = page.locator('.result').first()
    expect(await first.locator('.score').textContent()).toMatch(/^0\.\d{3}$/)
    await poll(() =>
      first.locator('img').evaluate((img: { naturalWidth: number }) => img.naturalWidth),
    ).toBeGreaterThan(50)
    expect(await page.locator('#latency').textContent()).toMatch(/p50 [\d.]+ ms · p95 [\d.]+ ms/)
    expect(complaints).toEqual([])
  })

  it('finds more of what one clicks, and goes back', async () => {
    await page.fill('#q', 'the sky')
    await page.keyboard.press('Enter')
    await settled(/results/)
    const before = await names()
    await page.locator('.result', { hasText: 'rocket progressive.jpg' }).locator('.picture').click()
    await page.locator('.chip', { hasText: 'like image' }).waitFor()
    await poll(async () => (await names())[0]).toContain('rocket progressive.jpg')
    expect(await page.locator('.result .score').first().textContent()).toBe('1.000')
    await page.goBack()
    await poll(names).toEqual(before)
    expect(await page.inputValue('#q')).toBe('the sky')
  })

  it('takes an image by the button and by dropping it, alone or with a text', async () => {
    await page.setInputFiles('#file', cat)
    await poll(async () => (await names())[0]).toContain('chelsea the cat.png')
    await page.fill('#q', 'a rocket')
    await page.keyboard.press('Enter')
    await poll(() => page.url()).toMatch(/q=a\+rocket.*image=[0-9a-f]{16}/)
    await page.locator('.chip button').click()
    await poll(() => page.url()).not.toMatch(/image=/)

    await page.goto(server.url)
    const transfer = await page.evaluateHandle((base64: string) => {
      const browserGlobal = globalThis as unknown as {
        DataTransfer: new () => { items: { add(file: unknown): void } }
        File: new (parts: unknown[], name: string, options: object) => unknown
        atob(text: string): string
      }
      const data = new browserGlobal.DataTransfer()
      const bytes = Uint8Array.from(browserGlobal.atob(base64), (char) => char.charCodeAt(0))
      data.items.add(new browserGlobal.File([bytes], 'cat.png', { type: 'image/png' }))
      return data
    }, readFileSync(cat).toString('base64'))
    await page.dispatchEvent('body', 'dragover', { dataTransfer: transfer })
    expect(await page.locator('#drop').isVisible()).toBe(true)
    await page.dispatchEvent('body', 'drop', { dataTransfer: transfer })
    await poll(async () => (await names())[0]).toContain('chelsea the cat.png')
    expect(await page.locator('#drop').isVisible()).toBe(false)
    expect(complaints).toEqual([])
  })

  it('says what is wrong with a file that is not an image', async () => {
    await page.setInputFiles('#file', path.join(repoRoot, 'fixtures', 'broken', 'not an image.jpg'))
    await settled(/not an image that can be read/)
    expect(await page.locator('#status').getAttribute('class')).toBe('error')
  })

  it('is used with the keyboard: results, details, more like this', async () => {
    await page.fill('#q', 'a cat')
    await page.keyboard.press('Enter')
    await settled(/results/)
    await page.keyboard.press('ArrowDown')
    await page.keyboard.press('ArrowRight')
    await page.keyboard.press(' ')
    const dialog = page.locator('#details')
    await dialog.waitFor()
    const name = (await names())[1]!
    expect(name).toContain(await dialog.locator('h2').textContent())
    expect(await dialog.locator('dl').textContent()).toMatch(/Similarity.*Location.*photos/)
    await page.keyboard.press('Escape')
    expect(await dialog.isVisible()).toBe(false)
    await page.keyboard.press('/')
    expect(await page.locator(':focus').getAttribute('id')).toBe('q')
    await page.keyboard.press('ArrowDown')
    await page.keyboard.press('Enter')
    await page.locator('.chip', { hasText: 'like image' }).waitFor()
  })

  it('keeps a place for the keyboard when what had the focus goes: More, more like this', async () => {
    expect(await page.locator('h1').count()).toBe(1)
    await page.route(/api\/search/, (route) => route.continue({ url: route.request().url().replace('k=24', 'k=5') }))
    try {
      await page.fill('#q', 'a cat')
      await page.keyboard.press('Enter')
      await settled(/5 results/)
      await page.locator('#more').focus()
      await page.keyboard.press('Enter')
      await settled(/10 results/)
      const place = () => page.locator('.result:has(:focus)').getAttribute('data-at', { timeout: 2000 })
      expect(await place()).toBe('5')
      await page.keyboard.press('Enter')
      await settled(/5 results/)
      await poll(place).toBe('0')
      expect(await page.locator('h1').count()).toBe(1)
    } finally {
      await page.unroute(/api\/search/)
    }
  })

  it('drops results that arrive when the query has been cleared', async () => {
    let clear = (): void => {}
    const cleared = new Promise<void>((resolve) => {
      clear = resolve
    })
    await page.route(/api\/search/, async (route) => {
      await cleared
      await route.continue()
    })
    try {
      const answered = page.waitForResponse(/api\/search/)
      await page.fill('#q', 'a cat')
      await page.keyboard.press('Enter')
      await page.fill('#q', '')
      await page.keyboard.press('Enter')
      clear()
      await (await answered).finished()
      // Whatever the page makes of it is there two frames later.
      await page.evaluate('new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))')
      await settled(/13 images from all over the index/)
      expect([(await names()).length, await page.locator('.result .score').count()]).toEqual([13, 0])
      expect(await page.locator('#empty').isVisible()).toBe(true)
    } finally {
      await page.unroute(/api\/search/)
    }
  })

  it('filters by class and size', async () => {
    await page.fill('#q', 'a photo')
    await page.keyboard.press('Enter')
    await settled(/13 results/)
    await page.click('#filters-toggle')
    await page.selectOption('#label', { label: 'things' })
    await settled(/5 results/)
    expect((await names()).every((name) => name.startsWith('things'))).toBe(true)
    await page.fill('#minWidth', '100000')
    await page.keyboard.press('Tab')
    await settled(/No image meets the filters/)
    await page.click('#filters-clear')
    await settled(/13 results/)
  })

  it('fits a telephone: no sideways scrolling, two columns', async () => {
    await page.setViewportSize({ width: 390, height: 844 })
    await page.fill('#q', 'a cat')
    await page.keyboard.press('Enter')
    await settled(/results/)
    const width = await page.evaluate(
      () =>
        (globalThis as unknown as { document: { documentElement: { scrollWidth: number } } }).document.documentElement
          .scrollWidth,
    )
    expect(width).toBeLessThanOrEqual(390)
    const tops = await page
      .locator('.result')
      .evaluateAll((list) => list.slice(0, 3).map((e) => (e as unknown as { offsetTop: number }).offsetTop))
    expect([tops[0] === tops[1], tops[1]! < tops[2]!]).toEqual([true, true])
    await page.setViewportSize({ width: 1280, height: 800 })
  })
})
