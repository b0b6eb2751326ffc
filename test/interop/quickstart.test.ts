/** docs/quickstart.md is true: every command of its transcript runs, and shows what the page shows. */
import { copyFileSync, mkdirSync, readdirSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import { expect, it } from 'vitest'
import { binPath, repoRoot, tempDir } from '../support/cli.js'
import { readTranscript, runOnTerminal, type Shown, type Step, steady } from '../support/transcript.js'
import { interopPython } from './python.js'

const fixtures = path.join(repoRoot, 'fixtures')
const PIECES_OF = ['people and animals/astronaut.jpg', 'people and animals/chelsea the cat.png', 'things/coffee.webp']

/** 300 photographs and what else such folders hold. */
async function takePhotographs(folder: string): Promise<void> {
  mkdirSync(folder)
  for (const [f, name] of PIECES_OF.entries()) {
    const { data, info } = await sharp(path.join(fixtures, 'images', name))
      .raw()
      .toBuffer({ resolveWithObject: true })
    const raw = { width: info.width, height: info.height, channels: info.channels }
    for (let i = f; i < 300; i += PIECES_OF.length) {
      const [width, height] = [160 + ((i * 7) % 40), 120 + ((i * 11) % 60)]
      const [left, top] = [(i * 13) % (raw.width - width + 1), (i * 29) % (raw.height - height + 1)]
      const photo = sharp(data, { raw }).extract({ left, top, width, height }).jpeg({ quality: 85 })
      await photo.toFile(path.join(folder, `IMG_${String(i).padStart(4, '0')}.jpg`))
    }
  }
  const odd = ['things/tasse café, exif 6.jpg', 'things/rocket cmyk.jpg', 'textures and sky/砂利 gravel.jpg']
  for (const name of odd) copyFileSync(path.join(fixtures, 'images', name), path.join(folder, path.basename(name)))
  for (const name of readdirSync(path.join(fixtures, 'broken')))
    copyFileSync(path.join(fixtures, 'broken', name), path.join(folder, name))
  writeFileSync(path.join(folder, 'notes.txt'), 'the cat is called Chelsea\n')
}

/** A line of `…` stands for any lines, and ` …^C` ends the line at which Ctrl-C is pressed. */
function expectShown({ command, says }: Step, { screen, moments }: Shown, home: string): void {
  const shown = steady(screen.replaceAll(home, '/home/ada'))
  const stays = says.filter((line) => !line.endsWith('^C'))
  for (const line of says.filter((one) => one.endsWith('^C')))
    expect(moments.map(steady), command).toContain(steady(line.slice(0, -'^C'.length)))
  const parts = stays.join('\n').split(/^…$/m).map(steady)
  if (parts.length === 1) expect(shown, command).toBe(parts[0])
  let at = 0
  for (const part of parts) {
    const found = shown.indexOf(part, at)
    expect(found, `${command}: ${part} is not in ${shown}`).toBeGreaterThanOrEqual(at)
    at = found + part.length
  }
}

it('a new user sees what docs/quickstart.md shows', async () => {
  const python = await interopPython()
  const home = realpathSync(tempDir())
  await takePhotographs(path.join(home, 'photos'))
  // A checkout beside it, for the commands that are typed there.
  const checkout = path.join(home, 'vtp')
  mkdirSync(checkout)
  for (const name of ['bin', 'fixtures']) symlinkSync(path.join(repoRoot, name), path.join(checkout, name))
  const programs = path.join(home, '.bin')
  mkdirSync(programs)
  symlinkSync(binPath, path.join(programs, 'vtp'))
  const env = { ...process.env, PATH: `${programs}:${path.dirname(python)}:${process.env.PATH}`, TERM: 'xterm' }

  const steps = readTranscript(readFileSync(path.join(repoRoot, 'docs', 'quickstart.md'), 'utf8'))
  expect(steps.length).toBeGreaterThan(8)
  for (const step of steps) {
    // Installing is what .ci/run does, with the same words from README.md.
    const command = step.command.replace(/^npm ci && npm run build && /, '')
    if (/^npm /.test(command)) continue
    const interruptAt = step.says.some((line) => line.endsWith('^C')) ? /[1-9]\d*\/\d+ images/ : undefined
    const cwd = command.startsWith('./bin/run.js') ? checkout : home
    expectShown(step, await runOnTerminal(command, { python, cwd, env, interruptAt }), home)
  }
})
