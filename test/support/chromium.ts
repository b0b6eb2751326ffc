/** A headless Chromium: CHROMIUM names one, otherwise the usual names on the path are tried. */
import { existsSync } from 'node:fs'
import path from 'node:path'
import { type Browser, chromium } from 'playwright-core'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome', 'chrome']

export function findChromium(): string {
  const given = process.env.CHROMIUM
  if (given) return given
  for (const folder of (process.env.PATH ?? '').split(path.delimiter)) {
    for (const name of NAMES) if (existsSync(path.join(folder, name))) return path.join(folder, name)
  }
  throw new Error(
    'The page is tested in a real browser, and there is none: install Chromium (apt-get install chromium), or name one in CHROMIUM.',
  )
}

export function launchChromium(): Promise<Browser> {
  // The sandbox needs rights that containers do not give.
  return chromium.launch({ executablePath: findChromium(), args: ['--no-sandbox', '--disable-gpu'] })
}
