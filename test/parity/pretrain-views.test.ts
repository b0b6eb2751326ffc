/** Augmentations, crop boxes and masks against torchvision's and DINOv2's (golden/pretrain), their draws replayed. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { decodeImage } from '../../src/image/decode.js'
import { drawBox, drawView, VIEW_KINDS, type ViewLaw } from '../../src/image/draw-view.js'
import { applyView, type ViewStep } from '../../src/image/view-steps.js'
import { openTensorFile } from '../../src/io/tensor-file.js'
import { type Draws, drawsAt } from '../../src/math/draws.js'
import { blockMask, cropMasks } from '../../src/pretrain/masks.js'
import type { RgbImage } from '../../src/types.js'
import { goldenPath } from '../golden.js'

const read = <T>(...parts: string[]): T => JSON.parse(readFileSync(goldenPath('pretrain', ...parts), 'utf8')) as T
const load = async (name: string): Promise<RgbImage> =>
  decodeImage(readFileSync(goldenPath('pretrain', 'augment', name)))

type GoldenOp = [string, ...unknown[]]

interface Augment {
  single: { input: string; op: GoldenOp; output?: string; sha256: string }[]
  pipeline: { input: string; ops: GoldenOp[]; output: string; sha256: string }[]
  boxes: { image: [number, number]; scale: [number, number]; draws: Draw[]; box: number[]; fallback: boolean }[]
}

type Draw = ['uniform' | 'randint', number, number, number] | ['shuffle', number[]]

const JITTER = ['adjust_brightness', 'adjust_contrast', 'adjust_saturation', 'adjust_hue'] as const

function stepsOf([name, first, second]: GoldenOp): ViewStep[] {
  switch (name) {
    case 'resized_crop':
      return [{ op: name, box: first as [number, number, number, number], size: second as [number, number] }]
    case 'color_jitter':
      return (first as number[]).map((which) => ({ op: JITTER[which]!, factor: (second as number[])[which]! }))
    case 'gaussian_blur':
      return [{ op: name, sigma: second === undefined ? (first as number) : (second as number[])[0]! }]
    case 'solarize':
      return [{ op: name, threshold: first as number }]
    case 'hflip':
    case 'rgb_to_grayscale':
      return [{ op: name }]
    default:
      return [{ op: name as 'adjust_hue', factor: first as number }]
  }
}

/** Gives recorded draws back, and checks that the same ones are asked for. */
function replayed(draws: Draw[]): Draws & { left(): number } {
  let at = 0
  const next = (kind: string, low: number, high: number): number => {
    const [recorded, from, to, value] = draws[at++] as ['uniform', number, number, number]
    expect([recorded, at]).toEqual([kind, at])
    expect(from).toBeCloseTo(low, 6)
    expect(to).toBeCloseTo(high, 6)
    return value
  }
  return {
    uniform: (low, high) => next('uniform', low, high),
    integer: (low, high) => next('randint', low, high),
    shuffle: () => (draws[at++] as ['shuffle', number[]])[1],
    left: () => draws.length - at,
  }
}

const augment = read<Augment>('augment', 'expected.json')
const sha256 = ({ data }: RgbImage): string => createHash('sha256').update(data).digest('hex')

async function expectView(image: RgbImage, ops: GoldenOp[], output: string | undefined, digest: string): Promise<void> {
  const mine = applyView(image, ops.flatMap(stepsOf))
  if (!ops.some(([name]) => name === 'gaussian_blur')) {
    expect(sha256(mine)).toBe(digest)
    return
  }
  const theirs = (await load(output!)).data
  let [largest, different] = [0, 0]
  theirs.forEach((value, i) => {
    const apart = Math.abs(value - mine.data[i]!)
    largest = Math.max(largest, apart)
    if (apart > 0) different++
  })
  // A blur's float32 sums fall on the other side of a half here and there; solarising turns one level into one level.
  expect(largest).toBeLessThanOrEqual(1)
  expect(different / theirs.length).toBeLessThan(1e-3)
}

describe('augmentations', () => {
  // Pillow's own blur is in the data for reference only.
  it.each(augment.single.filter(({ op }) => op[0] !== 'pil_gaussian_blur'))('$op of $input', async (given) => {
    await expectView(await load(`input/${given.input}`), [given.op], given.output, given.sha256)
  })

  it.each(augment.pipeline)('view $output', async ({ input, ops, output, sha256: digest }) => {
    await expectView(await load(`input/${input}`), ops, output, digest)
  })

  it('crop boxes are the official ones of the same draws', () => {
    for (const { image, scale, draws, box, fallback } of augment.boxes) {
      const recorded = replayed(draws)
      expect(drawBox({ width: image[0], height: image[1] }, scale, recorded)).toEqual({ box, fallback })
      expect(recorded.left()).toBe(0)
    }
  })

  it('views are functions of seed, step, sample and view', () => {
    const image = { width: 300, height: 200 }
    const view = (step: number, sample: number, kind: number) =>
      drawView(image, VIEW_KINDS.global2, drawsAt({ seed: 7, step, sample, view: kind }))
    expect(view(3, 4, 1)).toEqual(view(3, 4, 1))
    const others = [view(4, 4, 1), view(3, 5, 1), view(3, 4, 2)]
    for (const other of others) expect(other).not.toEqual(view(3, 4, 1))
    const views = Array.from({ length: 2000 }, (_, sample) => view(0, sample, 1))
    const share = (op: string): number => views.filter((steps) => steps.some((step) => step.op === op)).length / 2000
    expect(share('gaussian_blur')).toBeCloseTo(0.9, 1)
    expect(share('adjust_hue')).toBeCloseTo(0.8, 1)
    expect(share('solarize')).toBeCloseTo(0.2, 1)
  })

  it('a choice of filters changes nothing but how the crop is resampled, and each is drawn as often', () => {
    const image = { width: 300, height: 200 }
    const filters = ['bilinear', 'bicubic', 'box'] as const
    const view = (sample: number, law: ViewLaw): ViewStep[] =>
      drawView(image, law, drawsAt({ seed: 7, step: 0, sample, view: 1 }))
    const drawn: Record<string, number> = {}
    for (let sample = 0; sample < 3000; sample++) {
      const [crop, ...rest] = view(sample, { ...VIEW_KINDS.global2, filters })
      const [plain, ...others] = view(sample, VIEW_KINDS.global2)
      if (crop?.op !== 'resized_crop') throw new Error('the crop comes first')
      expect({ ...crop, filter: 'bicubic' }).toEqual(plain)
      expect(rest).toEqual(others)
      drawn[crop.filter!] = (drawn[crop.filter!] ?? 0) + 1
    }
    for (const filter of filters) expect(drawn[filter]! / 3000).toBeCloseTo(1 / 3, 1)
  })
})

interface Masks {
  generator: {
    grid: [number, number]
    args: { max_num_patches?: number; min_num_patches?: number; num_masking_patches?: number; min_aspect?: number }
    n: number
    draws: Draw[]
    mask: string[]
  }[]
  collate: { grid: number; samples: number; ratio: [number, number]; probability: number; draws: Draw[] }[]
}

describe('masks', () => {
  const golden = read<Masks>('masks.json')

  it('of blocks are the official ones of the same draws', () => {
    for (const { grid, args, n, draws, mask } of golden.generator) {
      const recorded = replayed(draws)
      const mine = blockMask({ h: grid[0], w: grid[1] }, n, recorded, {
        least: args.min_num_patches,
        most: args.max_num_patches ?? args.num_masking_patches,
        leastAspect: args.min_aspect,
      })
      const rows = Array.from({ length: grid[0] }, (_, y) => mine.subarray(y * grid[1], (y + 1) * grid[1]).join(''))
      expect(rows).toEqual(mask)
      expect(recorded.left()).toBe(0)
    }
  })

  it('of whole batches: masks, indices and weights', async () => {
    const file = await openTensorFile(goldenPath('pretrain', 'masks.safetensors'))
    for (const [i, { grid, samples, ratio, probability, draws }] of golden.collate.entries()) {
      const recorded = replayed(draws)
      const mine = cropMasks(2 * samples, { h: grid, w: grid }, { ratio, probability }, recorded)
      expect(recorded.left()).toBe(0)
      expect(mine.indices).toEqual(await file.readIntegers(`collate.${i}.mask_indices`))
      expect(mine.weights).toEqual(await file.readFloat32(`collate.${i}.masks_weight`))
    }
    await file.close()
  })
})
