/** Small helpers of the benchmarks: medians, and a table of ratios. */

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** Runs every contender once per round, in turn, so that a drifting machine drifts for all of them. */
export async function interleave(
  rounds: number,
  contenders: Record<string, () => Promise<number>>,
): Promise<Record<string, number[]>> {
  const results: Record<string, number[]> = Object.fromEntries(Object.keys(contenders).map((name) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const [name, run] of Object.entries(contenders)) {
      const value = await run()
      results[name]!.push(value)
      process.stderr.write(`round ${round + 1}/${rounds}  ${name}: ${value.toFixed(2)}\n`)
    }
  }
  return results
}

/** The median of a / b, round by round. */
export function pairedRatio(a: number[], b: number[]): number {
  return median(a.map((value, i) => value / b[i]!))
}

export function printTable(title: string, rows: [string, string][]): void {
  const width = Math.max(...rows.map(([name]) => name.length))
  console.log(`\n${title}`)
  for (const [name, value] of rows) console.log(`  ${name.padEnd(width)}  ${value}`)
}
