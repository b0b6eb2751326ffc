/**
 * Sizes of axes, as numbers or as sums of products of symbols: `N`, `257*N`, `R+1`. A graph does not know its batch,
 * but "the rows of N images" or "one row more" must still be told from each other while it is built. The text is
 * canonical (terms and factors are sorted), so that equal sizes are equal strings. What has no such form is a symbol
 * of its own that says how it came about: `floor((H+-1)/2)`.
 */
export type Dim = number | string
export type Shape = readonly Dim[]

/** Coefficients by product of symbols; the constant term's product is ''. */
type Terms = Map<string, number>

/** Splits where no bracket is open. */
function splitOutside(text: string, separator: string): string[] {
  const parts: string[] = []
  let depth = 0
  let start = 0
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '(') depth++
    else if (text[i] === ')') depth--
    else if (depth === 0 && text[i] === separator) {
      parts.push(text.slice(start, i))
      start = i + 1
    }
  }
  return [...parts, text.slice(start)]
}

function parse(dim: Dim): Terms {
  if (typeof dim === 'number') return new Map(dim === 0 ? [] : [['', dim]])
  const terms: Terms = new Map()
  for (const term of splitOutside(dim, '+')) {
    let coefficient = 1
    const symbols: string[] = []
    for (const factor of splitOutside(term, '*')) {
      if (/^-?\d+$/.test(factor)) coefficient *= Number(factor)
      else symbols.push(factor)
    }
    addTerm(terms, symbols, coefficient)
  }
  return terms
}

function addTerm(terms: Terms, symbols: string[], coefficient: number): void {
  const key = symbols.sort().join('*')
  const sum = (terms.get(key) ?? 0) + coefficient
  if (sum === 0) terms.delete(key)
  else terms.set(key, sum)
}

const factorsOf = (key: string): string[] => (key === '' ? [] : splitOutside(key, '*'))

function print(terms: Terms): Dim {
  if (terms.size === 0) return 0
  const keys = [...terms.keys()].sort((a, b) => (a === '' ? 1 : b === '' ? -1 : a < b ? -1 : 1))
  if (keys.length === 1 && keys[0] === '') return terms.get('')!
  return keys
    .map((key) => {
      const coefficient = terms.get(key)!
      if (key === '') return String(coefficient)
      return coefficient === 1 ? key : `${coefficient}*${key}`
    })
    .join('+')
}

export function addDims(a: Dim, b: Dim): Dim {
  if (typeof a === 'number' && typeof b === 'number') return a + b
  const terms = parse(a)
  for (const [key, value] of parse(b)) addTerm(terms, factorsOf(key), value)
  return print(terms)
}

export function multiplyDims(a: Dim, b: Dim): Dim {
  if (typeof a === 'number' && typeof b === 'number') return a * b
  const terms: Terms = new Map()
  for (const [x, cx] of parse(a))
    for (const [y, cy] of parse(b)) addTerm(terms, [...factorsOf(x), ...factorsOf(y)], cx * cy)
  return print(terms)
}

export function subtractDims(a: Dim, b: Dim): Dim {
  return addDims(a, multiplyDims(b, -1))
}

/** The term that long division starts with: most factors first, then in the order of their names. */
function leadOf(terms: Terms): { symbols: string[]; coefficient: number } {
  const [first, ...rest] = [...terms].map(([key, coefficient]) => ({ symbols: factorsOf(key), coefficient }))
  return rest.reduce((best, term) => (isBefore(term.symbols, best.symbols) ? term : best), first!)
}

function isBefore(a: string[], b: string[]): boolean {
  if (a.length !== b.length) return a.length > b.length
  const at = a.findIndex((symbol, i) => symbol !== b[i])
  return at >= 0 && a[at]! < b[at]!
}

/** a / b of monomials, undefined where a factor of b is not in a. */
function divideSymbols(a: string[], b: string[]): string[] | undefined {
  const rest = [...a]
  for (const symbol of b) {
    const at = rest.indexOf(symbol)
    if (at < 0) return undefined
    rest.splice(at, 1)
  }
  return rest
}

/** a / b where that is known to be whole, else undefined: long division without a rest. */
export function divideDims(a: Dim, b: Dim): Dim | undefined {
  const divisor = parse(b)
  if (divisor.size === 0) return undefined
  const lead = leadOf(divisor)
  const rest = parse(a)
  const quotient: Terms = new Map()
  while (rest.size > 0) {
    const { symbols, coefficient } = leadOf(rest)
    const factor = divideSymbols(symbols, lead.symbols)
    if (!factor || coefficient % lead.coefficient !== 0) return undefined
    const times = coefficient / lead.coefficient
    addTerm(quotient, factor, times)
    for (const [key, value] of divisor) addTerm(rest, [...factor, ...factorsOf(key)], -times * value)
  }
  return print(quotient)
}

/** ⌊a / n⌋ for n ≥ 1. */
export function floorDivideDim(a: Dim, n: number): Dim {
  if (typeof a === 'number') return Math.floor(a / n)
  return divideDims(a, n) ?? `floor((${a})/${n})`
}

/** ⌈a / n⌉ for n ≥ 1. */
export function ceilDivideDim(a: Dim, n: number): Dim {
  return floorDivideDim(addDims(a, n - 1), n)
}

export function productOf(dims: Shape): Dim {
  return dims.reduce<Dim>(multiplyDims, 1)
}
