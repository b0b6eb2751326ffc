/** Where two images differ: the mean absolute difference over channels as a colour from black over violet and orange to white. */
import type { RgbImage } from '../types.js'

/** Colours at equal distances. */
const STOPS: [number, number, number][] = [
  [4, 3, 18],
  [64, 15, 110],
  [150, 38, 103],
  [221, 81, 58],
  [251, 160, 30],
  [252, 252, 200],
]

/** Differences of `full` levels (of 255) and more have the last colour. */
export function heatMap(a: RgbImage, b: RgbImage, full: number): RgbImage {
  const data = new Uint8Array(a.data.length)
  for (let i = 0; i < data.length; i += 3) {
    const difference =
      (Math.abs(a.data[i]! - b.data[i]!) +
        Math.abs(a.data[i + 1]! - b.data[i + 1]!) +
        Math.abs(a.data[i + 2]! - b.data[i + 2]!)) /
      3
    const place = Math.min(1, difference / full) * (STOPS.length - 1)
    const stop = Math.min(STOPS.length - 2, Math.floor(place))
    for (let c = 0; c < 3; c++)
      data[i + c] = Math.round(STOPS[stop]![c]! + (STOPS[stop + 1]![c]! - STOPS[stop]![c]!) * (place - stop))
  }
  return { data, width: a.width, height: a.height }
}

/** CSS gradient of the same colours. */
export const HEAT_GRADIENT = `linear-gradient(90deg, ${STOPS.map((stop) => `rgb(${stop.join(' ')})`).join(', ')})`
