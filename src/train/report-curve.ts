/** Curves as SVG, for the report: points are thinned to the width, single values are faint below their running mean. */

export interface Point {
  x: number
  y: number
}

const SIZE = { width: 480, height: 190, left: 52, right: 10, top: 12, bottom: 26 }
const COLUMNS = 400

/** At most COLUMNS points: means of neighbours, the last one as it is. */
export function thin(points: readonly Point[]): Point[] {
  const group = Math.ceil(points.length / COLUMNS)
  if (group <= 1) return [...points]
  return Array.from({ length: Math.ceil(points.length / group) }, (_, i) => {
    const part = points.slice(i * group, (i + 1) * group)
    return { x: part.at(-1)!.x, y: part.reduce((sum, { y }) => sum + y, 0) / part.length }
  })
}

/** A running mean that younger points weigh more in. */
export function smoothed(points: readonly Point[], window: number): Point[] {
  const keep = 1 - 1 / window
  let [sum, weight] = [0, 0]
  return points.map(({ x, y }) => {
    sum = keep * sum + (1 - keep) * y
    weight = keep * weight + (1 - keep)
    return { x, y: sum / weight }
  })
}

const label = (value: number): string => {
  if (value === 0) return '0'
  const size = Math.abs(value)
  return size < 1e-3 || size >= 1e5 ? value.toExponential(1) : String(Number(value.toPrecision(3)))
}

export interface CurveOptions {
  /** A strong line of running means over the faint one of single values. */
  smooth?: boolean
  dots?: boolean
  /** The vertical axis is logarithmic; only for values above 0. */
  log?: boolean
}

/** A figure; empty where there are no points. */
export function curve(
  title: string,
  note: string,
  values: readonly Point[],
  { smooth = false, dots = false, log = false }: CurveOptions,
): string {
  if (values.length === 0) return ''
  const isLog = log && values.every(({ y }) => y > 0)
  const points = isLog ? values.map(({ x, y }) => ({ x, y: Math.log10(y) })) : values
  const text = (y: number): string => label(isLog ? 10 ** y : y)
  const raw = thin(points)
  const line = smooth ? thin(smoothed(points, Math.max(2, points.length / 40))) : raw
  const ys = raw.map(({ y }) => y)
  let [low, high] = [Math.min(...ys), Math.max(...ys)]
  if (high === low) [low, high] = [low - Math.abs(low || 1) * 0.1, high + Math.abs(high || 1) * 0.1]
  const [from, to] = [raw[0]!.x, raw.at(-1)!.x]
  const right = SIZE.width - SIZE.right
  const base = SIZE.height - SIZE.bottom
  const px = (x: number): string =>
    (to === from ? (SIZE.left + right) / 2 : SIZE.left + ((x - from) / (to - from)) * (right - SIZE.left)).toFixed(1)
  const py = (y: number): string => (base - ((y - low) / (high - low)) * (base - SIZE.top)).toFixed(1)
  const path = (list: readonly Point[]): string =>
    list.map(({ x, y }, i) => `${i === 0 ? 'M' : 'L'}${px(x)} ${py(y)}`).join('')
  const grid = [low, (low + high) / 2, high]
    .map(
      (y) =>
        `<line class="axis" x1="${SIZE.left}" x2="${right}" y1="${py(y)}" y2="${py(y)}"/><text x="${SIZE.left - 6}" y="${Number(py(y)) + 4}" text-anchor="end">${text(y)}</text>`,
    )
    .join('')
  const marks =
    dots || raw.length < 3
      ? raw
          .map(({ x, y }) => `<circle cx="${px(x)}" cy="${py(y)}" r="3"><title>step ${x}: ${text(y)}</title></circle>`)
          .join('')
      : ''
  return `<figure class="card"><figcaption><h3>${title}</h3><span class="note">${note}</span></figcaption>
<svg viewBox="0 0 ${SIZE.width} ${SIZE.height}" role="img" aria-label="${title} by step, from ${text(points[0]!.y)} to ${text(points.at(-1)!.y)}">
${grid}${smooth ? `<path class="raw" d="${path(raw)}"/>` : ''}<path class="line" d="${path(line)}"/>${marks}
<text x="${SIZE.left}" y="${SIZE.height - 6}">step ${from.toLocaleString('en-US')}</text><text x="${right}" y="${SIZE.height - 6}" text-anchor="end">${to.toLocaleString('en-US')}</text></svg></figure>`
}
