/**
 * A headless Chromium: CHROMIUM names one, otherwise the usual names on the path are tried. Where there is
 * none and packages may be installed (root on Debian, as in a container), Debian's is installed once.
 */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { type Browser, chromium } from 'playwright-core'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome', 'chrome']

function onPath(names: string[]): string | undefined {
  const folders = (process.env.PATH ?? '').split(path.delimiter)
  return folders.flatMap((folder) => names.map((name) => path.join(folder, name))).find((file) => existsSync(file))
}

function install(): void {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  execFileSync('apt-get', ['update', '-qq'], { env })
  execFileSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'chromium'], { env })
}

export function findChromium(): string {
  const found = process.env.CHROMIUM || onPath(NAMES)
  if (found) return found
  if (process.getuid?.() === 0 && onPath(['apt-get'])) install()
  const installed = onPath(NAMES)
  if (installed) return installed
  throw new Error(
    'The page is tested in a real browser, and there is none: install Chromium (apt-get install chromium), or name one in CHROMIUM.',
  )
}

export function launchChromium(): Promise<Browser> {
  // The sandbox needs rights that containers do not give.
  return chromium.launch({ executablePath: findChromium(), args: ['--no-sandbox', '--disable-gpu'] })
}
