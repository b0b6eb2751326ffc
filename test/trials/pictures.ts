/**
 * Rendered pictures of ten classes, for trials: shapes of any size, place and colour on soft backgrounds. Picture i of
 * a class is a function of (class, i) alone.
 */
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import { createRandom, type Random } from '../../src/math/random.js'

export const CLASSES = [
  'circle',
  'square',
  'triangle',
  'star',
  'ring',
  'cross',
  'stripes',
  'diamond',
  'half-moon',
  'checkers',
] as const

const SIZE = 128

function polygon(points: [number, number][], fill: string): string {
  return `<polygon points="${points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(' ')}" fill="${fill}"/>`
}

function around(x: number, y: number, radii: number[], turn: number): [number, number][] {
  return radii.map((r, i) => {
    const angle = turn + (2 * Math.PI * i) / radii.length - Math.PI / 2
    return [x + r * Math.cos(angle), y + r * Math.sin(angle)]
  })
}

function shape(name: (typeof CLASSES)[number], random: Random, fill: string, ground: string): string {
  const r = 30 + 20 * random.next()
  const [x, y] = [64 + 20 * (random.next() - 0.5), 64 + 20 * (random.next() - 0.5)]
  const turn = 0.4 * (random.next() - 0.5)
  const box = (w: number, h: number): string =>
    `<rect x="${x - w}" y="${y - h}" width="${2 * w}" height="${2 * h}" fill="${fill}"/>`
  switch (name) {
    case 'circle':
      return `<circle cx="${x}" cy="${y}" r="${r}" fill="${fill}"/>`
    case 'square':
      return box(r * 0.9, r * 0.9)
    case 'triangle':
      return polygon(around(x, y, [r * 1.2, r * 1.2, r * 1.2], turn), fill)
    case 'star':
      return polygon(
        around(
          x,
          y,
          Array.from({ length: 10 }, (_, i) => (i % 2 === 0 ? r * 1.2 : r * 0.5)),
          turn,
        ),
        fill,
      )
    case 'ring':
      return `<circle cx="${x}" cy="${y}" r="${r * 0.8}" fill="none" stroke="${fill}" stroke-width="${r * 0.4}"/>`
    case 'cross':
      return box(r * 1.1, r * 0.35) + box(r * 0.35, r * 1.1)
    case 'stripes':
      return Array.from(
        { length: 4 },
        (_, i) => `<rect x="0" y="${i * 32 + x / 8}" width="128" height="16" fill="${fill}"/>`,
      ).join('')
    case 'diamond':
      return polygon(around(x, y, [r * 1.3, r * 0.7, r * 1.3, r * 0.7], 0), fill)
    case 'half-moon':
      return `<circle cx="${x}" cy="${y}" r="${r}" fill="${fill}"/><circle cx="${x + r * 0.55}" cy="${y - r * 0.1}" r="${r * 0.9}" fill="${ground}"/>`
    case 'checkers': {
      const cell = 28 + 8 * random.next()
      const cells: string[] = []
      for (let i = 0; i * cell < 128; i++)
        for (let j = 0; j * cell < 128; j++)
          if ((i + j) % 2 === 0)
            cells.push(`<rect x="${i * cell}" y="${j * cell}" width="${cell}" height="${cell}" fill="${fill}"/>`)
      return cells.join('')
    }
  }
}

/** Writes `count` pictures of every class, from number `first` on, into class folders. */
export async function renderPictures(folder: string, first: number, count: number): Promise<void> {
  for (const [label, name] of CLASSES.entries()) {
    const dir = path.join(folder, `${label}-${name}`)
    mkdirSync(dir, { recursive: true })
    for (let i = first; i < first + count; i++) {
      const random = createRandom(label * 1_000_003 + i)
      const hue = Math.floor(360 * random.next())
      const fill = `hsl(${hue},70%,${40 + Math.floor(15 * random.next())}%)`
      const ground = `hsl(${Math.floor(360 * random.next())},25%,${82 + Math.floor(10 * random.next())}%)`
      const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${SIZE}" height="${SIZE}"><rect width="${SIZE}" height="${SIZE}" fill="${ground}"/>${shape(name, random, fill, ground)}</svg>`
      await sharp(Buffer.from(svg))
        .png()
        .toFile(path.join(dir, `${String(i).padStart(5, '0')}.png`))
    }
  }
}
