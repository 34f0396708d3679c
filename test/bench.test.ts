import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { compare } from '../lib/bench/compare.js'
import { measure } from '../lib/bench/measure.js'
import { report } from '../lib/bench/report.js'
import { readResults } from '../lib/bench/results.js'
import { mulberry32, percentiles, ratioOfMedians } from '../lib/bench/statistics.js'
import type { Measured, Results, Trial } from '../lib/bench/types.js'
import { addon } from '../lib/native/call.js'
import { packageRoot } from '../lib/root.js'
import { refusal } from './support/refusal.js'

const folder = mkdtempSync(path.join(tmpdir(), 'resnet-bench-'))
afterAll(() => rmSync(folder, { recursive: true }))

const trial: Trial = {
  network: { name: 'resnet20', channels: 1, height: 8, width: 8 },
  device: 'cpu',
  dtype: 'float32',
  batch: 2,
  threads: 1,
  load: { kind: 'closed' },
}
const name = 'resnet20 8x8 float32 cpu batch 2 threads 1'

function round(imagesPerSecond: number): Measured {
  const ms = 2000 / imagesPerSecond
  const latencyMs = { p50: ms, p90: ms, p99: ms, p999: ms, max: ms }
  const steady = { calls: 9, eventLoopP99Ms: 0, loadMs: 5, loadPeakMb: 50, peakMb: 60 }
  return { imagesPerSecond, latencyMs, cpuMsPerImage: ms / 2, ...steady }
}

function results(rates: readonly number[]): Results {
  const drivers = [{ driver: 'resnet', version: '1', settings: {}, rounds: rates.map(round) }]
  return {
    format: 'resnet-bench',
    version: 1,
    date: '2026-01-01T00:00:00Z',
    machine: {
      cpu: 'a <processor>',
      cpus: 2,
      available: 2,
      memoryGb: 4,
      platform: 'linux-x64',
      kernel: '6',
      node: 'v20',
      isa: 'avx2',
      loadBefore: 0,
    },
    rounds: rates.length,
    seconds: 1,
    trials: [{ ...trial, name, drivers }],
  }
}

describe('statistics', () => {
  test('percentiles interpolate as NumPy does', () => {
    expect(percentiles([4, 1, 3, 2])).toEqual({
      p50: 2.5,
      p90: expect.closeTo(3.7),
      p99: expect.closeTo(3.97),
      p999: expect.closeTo(3.997),
      max: 4,
    })
  })

  test('the interval holds the true ratio in about 95 of 100 repetitions', () => {
    const random = mulberry32(3)
    const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
    const sample = (mean: number) => Array.from({ length: 12 }, () => mean + normal())
    const held = Array.from({ length: 100 }, () => ratioOfMedians(sample(50), sample(60)))
    const count = held.filter(({ low, high }) => low <= 1.2 && high >= 1.2).length
    expect(count).toBeGreaterThanOrEqual(85)
    expect(held.filter(({ low, high }) => low <= 1.3 && high >= 1.3).length).toBeLessThan(15)
  })
})

describe('compare', () => {
  const verdicts = (a: readonly number[], b: readonly number[]) =>
    Object.fromEntries(compare(results(a), results(b)).map(({ figure, verdict }) => [figure, verdict]))

  test('a faster run is better in every figure that follows from speed', () => {
    expect(verdicts([100, 101, 99, 100, 102], [120, 121, 119, 122, 120])).toMatchObject({
      'images/s': 'better',
      'p99 ms': 'better',
      'peak MB': 'no difference shown',
    })
    expect(verdicts([120, 121, 119, 122, 120], [100, 101, 99, 100, 102])['images/s']).toBe('worse')
  })

  test('noise is no difference, and three rounds are too few', () => {
    expect(verdicts([100, 90, 110, 95, 105], [101, 92, 108, 97, 104])['images/s']).toBe('no difference shown')
    expect(verdicts([100, 100, 100], [120, 120, 120])['images/s']).toBe('too few rounds')
  })
})

describe('measure', () => {
  const opened = (ms: number, fail?: unknown) => ({
    version: '1',
    settings: {},
    bind: () => async () => {
      await new Promise((resolve) => setTimeout(resolve, ms))
      if (fail !== undefined) throw fail
      return new Float32Array(1)
    },
    close: async () => {},
  })

  test('a closed loop counts images and time', async () => {
    const measured = await measure({ trial, opened: opened(10), openMs: 3, seconds: 0.3 })
    expect(measured.latencyMs.p50).toBeGreaterThanOrEqual(9)
    expect(measured.imagesPerSecond).toBeLessThan(220)
    expect(measured.imagesPerSecond).toBeGreaterThan(20)
    expect(measured.loadMs).toBeGreaterThanOrEqual(12)
  })

  test('an open loop keeps its rate whatever the calls take', async () => {
    const load = { kind: 'open', share: 1 } as const
    const session = { trial: { ...trial, load }, opened: opened(100), openMs: 0, seconds: 1 }
    const measured = await measure({ ...session, rate: 100 })
    // A hundred arrivals a second of 100 ms each: a closed loop would have made ten.
    expect(measured.calls).toBeGreaterThan(60)
    expect(measured.offeredPerSecond).toBe(100)
    expect(measured.latencyMs.p50).toBeGreaterThanOrEqual(99)
  })
})

test('the report holds charts for light and dark, every figure, and no raw markup of the machine', () => {
  const html = report(results([100, 101, 99, 102]))
  expect(html.match(/<svg/g)).toHaveLength(2)
  expect(html).toContain('images a call')
  expect(html).toContain('a &#60;processor&#62;')
  expect(html).not.toContain('<processor>')
  expect(html).toContain('101')
  expect(html).not.toMatch(/(src|href)=/)
})

test('the limits of the machine are measured, and can be aborted', async () => {
  const limits = await addon().measureLimits({ threads: 1 })
  expect(limits.map(({ unit }) => unit)).toEqual(expect.arrayContaining(['GFLOP/s float32', 'GB/s']))
  for (const { value } of limits) expect(value).toBeGreaterThan(0.1)
  const control = addon().createControl()
  const measuring = addon().measureLimits({ threads: 1, control })
  control.cancel()
  await expect(measuring).rejects.toMatchObject({ code: 'ABORTED' })
}, 60_000)

test('a file that is none of ours is refused', async () => {
  const file = path.join(folder, 'other.json')
  writeFileSync(file, '{"version": 1}')
  expect((await refusal(() => readResults(file))).code).toBe('ERR_RESNET_CORRUPT')
  expect((await refusal(() => readResults(path.join(folder, 'none.json')))).code).toBe('ERR_RESNET_IO')
})

test('the command measures in fresh processes and writes what it measured', async () => {
  const output = path.join(folder, 'out.json')
  const html = path.join(folder, 'out.html')
  const words = `bench --network resnet20 --size 32 --batch 2 --threads 1 --load 0.5 --rounds 1 --seconds 0.2 --layers`
  const cli = path.join(packageRoot, 'dist', 'cli', 'main.js')
  const { stdout } = await promisify(execFile)(process.execPath, [
    cli,
    ...words.split(' '),
    '--output',
    output,
    '--report',
    html,
  ])
  expect(stdout).toContain('images/s')
  const written: Results = JSON.parse(readFileSync(output, 'utf8'))
  expect(written.trials.map(({ load }) => load.kind)).toEqual(['closed', 'open'])
  for (const { drivers } of written.trials) {
    expect(drivers[0]?.error).toBeUndefined()
    expect(drivers[0]?.rounds[0]?.imagesPerSecond).toBeGreaterThan(0)
  }
  expect(written.layers?.[0]?.rows.length).toBeGreaterThan(20)
  expect(readFileSync(html, 'utf8').match(/<svg/g)).toHaveLength(6)
  const again = path.join(folder, 'again.html')
  await promisify(execFile)(process.execPath, [cli, 'bench', 'report', output, '-o', again])
  expect(readFileSync(again, 'utf8')).toBe(readFileSync(html, 'utf8'))
}, 120_000)
