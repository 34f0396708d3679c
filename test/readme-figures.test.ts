// Every figure of the tables under "Speed" in the README is that of the results that the text above the table names.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { median, ratioOfMedians } from '../lib/bench/statistics.js'
import { packageRoot } from '../lib/root.js'

interface Measured {
  network: string
  batch?: number
  threads: number
  /** Images a second of every round. */
  rates: Record<string, number[]>
}
type Round = { imagesPerSecond: number }

/** Of both forms: the present one, and that of the first results from JPEGs. */
function measuredIn(file: string): Measured[] {
  const { trials = [], rows = [] } = JSON.parse(readFileSync(path.join(packageRoot, file), 'utf8'))
  const ratesOf = (rounds: Round[]) => rounds.map(({ imagesPerSecond }) => imagesPerSecond)
  return [
    ...trials.map(({ network, batch, threads, drivers }: Record<string, never>) => ({
      network: (network as { name: string }).name,
      batch,
      threads,
      rates: Object.fromEntries(
        (drivers as { driver: string; rounds: Round[] }[]).map(({ driver, rounds }) => [
          driver,
          ratesOf(rounds),
        ]),
      ),
    })),
    ...rows.map(({ name, threads, rounds }: Record<string, never>) => ({
      network: name,
      threads,
      rates: Object.fromEntries(
        Object.entries(rounds as Record<string, Round[]>).map(([driver, list]) => [driver, ratesOf(list)]),
      ),
    })),
  ]
}

const [, section = ''] = readFileSync(path.join(packageRoot, 'README.md'), 'utf8').split(
  /<!-- bench:(?:begin|end) -->/,
)
const cellsOf = (line: string) =>
  line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim())

/** The text above each table, and its lines. */
const tables = [...section.matchAll(/([^|]+)((?:\|.*\|\n)+)/g)].map(([, text = '', lines = '']) => {
  const [head = [], , ...rows] = lines.trim().split('\n').map(cellsOf)
  return { file: /\((bench\/results\/[^)]+\.json)\)/.exec(text)?.[1] ?? '', head, rows }
})

const spread = (rates: number[]) =>
  `${median(rates).toFixed(1)} (${Math.min(...rates).toFixed(1)} to ${Math.max(...rates).toFixed(1)})`

test('there are tables, each with its results', () => {
  expect(tables.length).toBeGreaterThan(0)
  for (const { file } of tables) expect(file).toMatch(/\.json$/)
})

test.each(tables)('$file', ({ file, head, rows }) => {
  const all = measuredIn(file)
  const names = head.filter((name) => !['network', 'batch', 'ratio'].includes(name))
  /** 'PyTorch' is the driver torch. */
  const driverOf = (name: string) => name.toLowerCase().replace(/^py/, '')
  for (const row of rows) {
    const cell = (name: string) => row[head.indexOf(name)] as string
    const network = cell('network').split(' ').at(-1)
    const found = all.filter(
      (one) =>
        one.network === network &&
        one.threads === 2 &&
        (!head.includes('batch') || String(one.batch) === cell('batch')),
    )
    expect({ row, found: found.length }).toEqual({ row, found: 1 })
    const { rates } = found[0] as Measured
    for (const name of names) {
      const known = rates[driverOf(name)] as number[]
      const told = cell(name)
      expect({ row, name, told }).toEqual({
        row,
        name,
        told: told.includes('(') ? spread(known) : median(known).toFixed(1),
      })
    }
    if (!head.includes('ratio')) continue
    const [ours, peer] = names.map((name) => rates[driverOf(name)]) as [number[], number[]]
    const { ratio, low, high } = ratioOfMedians(peer, ours)
    expect(cell('ratio')).toBe(`${ratio.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`)
  }
})
