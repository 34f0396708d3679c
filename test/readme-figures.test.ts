// Every figure under "Speed" in the README is that of the results that it names: in the row, in one above it, or in the text
// above the table.
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

/** As one line. */
const words = (text: string) => text.replace(/\s+/g, ' ')
const paragraphs = section.split('\n\n').map(words)

test('the event loop', () => {
  const file = rows.find(({ cells }) => cells.processor?.startsWith('Intel Xeon ('))?.file as string
  const { trials } = JSON.parse(readFileSync(path.join(packageRoot, file), 'utf8'))
  // Bytes to labels: the stream and the callers.
  const delays: [string, number][] = trials.flatMap(({ network, drivers }: Record<string, never>) =>
    (drivers as { driver: string; rounds: { eventLoopP99Ms: number }[] }[])
      .filter(({ driver }) => ['resnet', 'resnet, 64 callers'].includes(driver))
      .map(({ rounds }) => [
        (network as { name: string }).name,
        median(rounds.map(({ eventLoopP99Ms }) => eventLoopP99Ms)),
      ]),
  )
  const most = (list: [string, number][]) => Math.max(...list.map(([, delay]) => delay)).toFixed(1)
  const least = Math.min(...delays.map(([, delay]) => delay)).toFixed(1)
  const digits = most(delays.filter(([name]) => name === 'digits'))
  const images = rows.find(({ cells }) => cells.network === 'the embedded digits')?.cells.resnet
  expect(paragraphs.find((text) => text.includes('event loop'))).toContain(
    `by ${least} to ${most(delays)} ms on the Xeon (99th percentile; the same results): ${digits} ms with the embedded ` +
      `digits, of which ${Number(images).toLocaleString('en')} images a second pass`,
  )
})

test('callers, overload and memory', () => {
  const text = paragraphs.find((paragraph) => paragraph.includes('-serving.json')) as string
  const { reports } = JSON.parse(readFileSync(path.join(packageRoot, linkIn(text) as string), 'utf8'))
  const both = (name: string, of: (report: never) => number, decimals: number) =>
    ['digits', 'resnet18'].map((network) => of(reports[`${name} ${network}`] as never).toFixed(decimals))
  type Batching = { callers: string; share: number; loneOverheadMs: number }
  type Overload = Record<'accepted' | 'refused', { latencyMs: { p99: number } }> & {
    capacityPerSecond: number
    broken: string[]
  }
  const [digits, resnet18] = both('batching', ({ share }: Batching) => share, 2)
  const lone = both('batching', ({ loneOverheadMs }: Batching) => loneOverheadMs, 2).join(' and ')
  const accepted = both('overload', ({ accepted }: Overload) => accepted.latencyMs.p99, 0).join(' and ')
  const queue = both('overload', ({ capacityPerSecond }: Overload) => 48_000 / capacityPerSecond, 0).join(
    ' and ',
  )
  const refused = both('overload', ({ refused }: Overload) => refused.latencyMs.p99, 1).join(' and ')
  const grown = (name: string) => {
    const { halfBytes, endBytes } = reports[name]
    return [halfBytes, endBytes].map((bytes) => (bytes / 1e6).toFixed(1))
  }
  const [half, end] = grown('soak')
  expect(text).toContain(`from ${reports['batching digits'].callers} callers at once reach ${digits} of`)
  expect(text).toContain(
    `digits, and ${resnet18} with resnet18; a call that is alone pays ${lone} ms beyond its network`,
  )
  expect(text).toContain(
    `within ${accepted} ms (99th percentile; what fills their queue takes ${queue} ms) and refuse the rest within ${refused} ms.`,
  )
  expect(reports['overload digits']).toMatchObject({ broken: [], failed: 0 })
  expect(reports['overload resnet18']).toMatchObject({ broken: [], failed: 0 })
  expect(text).toContain(
    `After 50,000 images, JPEG and PNG, the process has ${half} MB, and ${end} MB after 50,000 more; where each leaves 32 KiB ` +
      `behind, ${grown('soak that leaks').join(' and ')} MB`,
  )
  expect(reports.soak).toMatchObject({ images: 100_000, flat: true })
  expect(reports['soak that leaks']).toMatchObject({ images: 100_000, flat: false })
})
