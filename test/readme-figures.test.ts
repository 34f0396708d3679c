// Every figure of the tables under "Speed" in the README is that of the results that it names: in the row, in one above it,
// or in the text above the table.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { median, ratioOfMedians } from '../lib/bench/statistics.js'
import { packageRoot } from '../lib/root.js'

interface Found {
  network: string
  batch?: number
  threads: number
  boundPerSecond?: number
  /** Images a second of every round, by driver. */
  rates: Record<string, number[]>
}
type Round = { imagesPerSecond: number }
const ratesOf = (rounds: Round[]) => rounds.map(({ imagesPerSecond }) => imagesPerSecond)

/** Of both forms: the present one, and that of the first results from JPEGs. */
function resultsIn(file: string): Found[] {
  const { trials = [], rows = [] } = JSON.parse(readFileSync(path.join(packageRoot, file), 'utf8'))
  const present = trials.map((trial: Found & { drivers: { driver: string; rounds: Round[] }[] }) => ({
    ...trial,
    network: (trial.network as unknown as { name: string }).name,
    rates: Object.fromEntries(trial.drivers.map(({ driver, rounds }) => [driver, ratesOf(rounds)])),
  }))
  const first = rows.map(({ name, threads, rounds }: { name: string; threads: number; rounds: object }) => ({
    network: name,
    threads,
    rates: Object.fromEntries(Object.entries(rounds).map(([driver, list]) => [driver, ratesOf(list)])),
  }))
  return [...present, ...first]
}

const readme = readFileSync(path.join(packageRoot, 'README.md'), 'utf8')
const [, section = ''] = readme.split(/<!-- bench:(?:begin|end) -->/)
const linkIn = (text = '') => /\((bench\/results\/[^)]+\.json)\)/.exec(text)?.[1]

interface Row {
  file: string
  cells: Record<string, string>
}
const rows = [...section.matchAll(/([^|]+)((?:\|.*\|\n)+)/g)].flatMap(([, text, table = '']): Row[] => {
  const [head = [], , ...lines] = table
    .trim()
    .split('\n')
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    )
  let file = linkIn(text) ?? ''
  return lines.map((line) => {
    file = linkIn(line[0]) ?? file
    return { file, cells: Object.fromEntries(head.map((name, i) => [name, line[i] as string])) }
  })
})

/** What a cell of that driver says of its rounds, with as many decimals as it has. */
function told(cell: string, rates: number[]): string {
  const decimals = /^\d+\.?(\d*)/.exec(cell)?.[1]?.length
  const of = (value: number) => value.toFixed(decimals)
  const spread = cell.includes('(') ? ` (${of(Math.min(...rates))} to ${of(Math.max(...rates))})` : ''
  return of(median(rates)) + spread
}

test('there are rows', () => {
  expect(rows.length).toBeGreaterThan(5)
})

test.each(rows)('$file $cells.network $cells.batch', ({ file, cells }) => {
  const { processor: _, network = '', batch, ratio, 'share of the bound': share, ...drivers } = cells
  const results = resultsIn(file).filter(
    (found) =>
      found.network === network.split(' ').at(-1) &&
      found.threads === 2 &&
      (batch === undefined || String(found.batch) === batch),
  )
  expect(results).toHaveLength(1)
  const { rates, boundPerSecond } = results[0] as Found
  // 'PyTorch' is the driver torch.
  const ratesBy = (name: string) => rates[name.toLowerCase().replace(/^py/, '')] as number[]
  expect(Object.keys(drivers).length).toBeGreaterThan(1)
  for (const [name, cell] of Object.entries(drivers)) expect(cell).toBe(told(cell, ratesBy(name)))
  const [ours, peer] = Object.keys(drivers).map(ratesBy) as [number[], number[]]
  if (ratio !== undefined) {
    const { ratio: between, low, high } = ratioOfMedians(peer, ours)
    expect(ratio).toBe(`${between.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`)
  }
  if (share) expect(share).toBe((median(ours) / (boundPerSecond as number)).toFixed(2))
})
