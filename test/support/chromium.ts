/**
 * A headless Chromium: CHROMIUM names one, otherwise the usual names on the path are tried. Where there is
 * none and packages may be installed (root on Debian, as in a container), Debian's is installed once.
 */
import { type Browser, chromium } from 'playwright-core'
import { findProgram } from './programs.js'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome', 'chrome']

export function findChromium(): string {
  return (
    process.env.CHROMIUM ||
    findProgram(NAMES, {
      package: 'chromium',
      why: 'The page is tested in a real browser, and there is none: install Chromium, or name one in CHROMIUM.',
    })
  )
}

export function launchChromium(): Promise<Browser> {
  // The sandbox needs rights that containers do not give.
  return chromium.launch({ executablePath: findChromium(), args: ['--no-sandbox', '--disable-gpu'] })
}
