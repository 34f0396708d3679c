import { execFile, execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import type { DeviceInfo } from '../binding.js'
import { type ChartOption, chartsOf } from '../lib/bench/charts.js'
import { compare } from '../lib/bench/compare.js'
import { boundOf } from '../lib/bench/layers.js'
import { gpuLimits } from '../lib/bench/limits.js'
import { parseGpus } from '../lib/bench/machine.js'
import { measure } from '../lib/bench/measure.js'
import { report } from '../lib/bench/report.js'
import { checkWritable, readResults, writeWhole } from '../lib/bench/results.js'
import { nameOf } from '../lib/bench/run.js'
import { stagesBetween } from '../lib/bench/stages.js'
import { mulberry32, percentiles, poissonArrivals, ratioOfMedians } from '../lib/bench/statistics.js'
import { makeCalls } from '../lib/bench/subject.js'
import type { Load, Measured, Results, Trial, TrialResult } from '../lib/bench/types.js'
import { layersText, limitsText, tableOf } from '../lib/cli/bench-table.js'
import { models } from '../lib/models.js'
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

  test('arrivals are a Poisson process: exponential gaps of the mean, the same every time', () => {
    const times = poissonArrivals(500, 20_000)
    expect(times).toEqual(poissonArrivals(500, 20_000))
    expect(Math.abs(times.length - 10_000)).toBeLessThan(300)
    const gaps = times.map((time, i) => time - (times[i - 1] ?? 0))
    const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length
    const deviation = Math.sqrt(gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length)
    expect(mean).toBeCloseTo(2, 1)
    // Of an exponential distribution they are equal; of even gaps the second were 0.
    expect(deviation / mean).toBeCloseTo(1, 1)
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

test('a figure that is 0 in some rounds, as the event loop of an idle process is, shows no false difference', () => {
  const { low, high } = ratioOfMedians([0, 0.5, 0.5, 0.6], [0, 0, 0.5, 0.7])
  expect(low).toBe(0)
  expect(high).toBe(Number.POSITIVE_INFINITY)
  const some = [0, 0, 0.1, 0.1]
  expect(ratioOfMedians(some, some)).toEqual({ ratio: 1, low: 0, high: Number.POSITIVE_INFINITY })
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

describe('the memory of a GPU', () => {
  const onGpu = (deviceMb: number, deviceDriverMb: number | null): Results => {
    const [trial] = results([100, 101, 99, 102]).trials as [TrialResult]
    const drivers = trial.drivers.map((driver) => ({
      ...driver,
      rounds: driver.rounds.map((round) => ({ ...round, deviceMb, deviceDriverMb }) as Measured),
    }))
    return { ...results([]), trials: [{ ...trial, drivers }] }
  }
  const memoryOf = (a: Results, b: Results) =>
    compare(a, b)
      .filter(({ figure }) => figure.endsWith('MB') && figure !== 'peak MB')
      .map(({ figure, ratio, verdict }) => ({ figure, ratio, verdict }))

  test('is compared where both tell it', () => {
    expect(memoryOf(onGpu(100, 500), onGpu(120, 500))).toEqual([
      { figure: 'device MB', ratio: 1.2, verdict: 'worse' },
      { figure: 'by driver MB', ratio: 1, verdict: 'no difference shown' },
    ])
    expect(memoryOf(onGpu(100, null), onGpu(100, 500))).toEqual([
      { figure: 'device MB', ratio: 1, verdict: 'no difference shown' },
    ])
    // A result of before.
    expect(memoryOf(results([100, 101, 99, 102]), onGpu(100, 500))).toEqual([])
  })

  test('has columns where there is a GPU', () => {
    const [trial] = onGpu(123.4, null).trials as [TrialResult]
    expect(tableOf(trial)).toMatch(/peak MB +device MB +by driver MB\n.* 60 +123\.4 +-\n$/)
    expect(tableOf(results([100]).trials[0] as TrialResult)).not.toMatch(/device|driver MB/)
    expect(report(onGpu(123.4, null))).toMatch(/>device MB<.*>by driver MB<[\s\S]*>123<small>/)
    expect(report(results([100]))).not.toMatch(/device MB|by driver MB/)
  })
})

describe('the ceilings of a GPU', () => {
  const info = (bytesPerSecond: number, float16: number, source: string) =>
    ({
      index: 1,
      name: 'a <card>',
      ceilings: { bytesPerSecond, float16, bfloat16: 0, tf32: 0, float32: 6e13, source },
    }) as DeviceInfo

  test('are printed with their source; what is not known as that', () => {
    const limits = gpuLimits(info(4.8e12, 9.9e14, 'theoretical: clocks'))
    expect(limitsText(limits)).toMatch(
      /^Limits of cuda:1, a <card>; theoretical: clocks\n {2}device copy +4800\.0 GB\/s\n {2}matrix float16 +990\.0 TFLOP\/s float16\n/,
    )
    expect(limitsText(limits)).toMatch(
      /matrix tf32 +- TFLOP\/s tf32\n {2}matrix float32 +60\.0 TFLOP\/s float32\n$/,
    )
    const html = report({ ...results([100]), limits: JSON.parse(JSON.stringify(limits)) })
    expect(html).toContain('a &#60;card&#62;: theoretical: clocks.')
    expect(html).toMatch(/matrix tf32<\/td><td>cuda:1, a &#60;card&#62;<\/td><td class="number">–<\/td>/)
  })

  test('stand apart from those of the processor', () => {
    const cpu = { name: 'copy', value: 10, unit: 'GB/s', threads: 2 }
    expect(limitsText([cpu, ...gpuLimits(info(0, 0, 'unknown'))])).toMatch(
      /^Limits of this machine\n {2}copy +10\.0 GB\/s, 2 threads\nLimits of cuda:1, a <card>; unknown\n {2}device copy +- GB\/s\n/,
    )
  })
})

describe('charts', () => {
  const at = (changes: Partial<Trial>, ...rounds: Measured[]): TrialResult => {
    const changed = { ...trial, ...changes }
    return {
      ...changed,
      name: nameOf(changed),
      drivers: [{ driver: 'resnet', version: '', settings: {}, rounds }],
    }
  }
  const charts = (...trials: TrialResult[]) => chartsOf({ ...results([]), trials })
  const series = (option: ChartOption | undefined) => option?.series as { name: string; data: unknown[] }[]

  test('throughput against batch: a point a trial, the median of its rounds, smaller batches first', () => {
    const [chart] = charts(at({ batch: 8 }, round(200), round(210), round(250)), at({ batch: 1 }, round(100)))
    expect(chart?.title).toBe('Throughput against batch: resnet20, 1 thread')
    expect(series(chart?.option)).toEqual([
      expect.objectContaining({
        name: 'resnet',
        data: [
          [1, 100],
          [8, 210],
        ],
      }),
    ])
  })

  test('what differs between trials has charts of its own', () => {
    const list = charts(at({ dtype: 'float32' }, round(100)), at({ dtype: 'bfloat16', lanes: 2 }, round(150)))
    expect(list.map(({ title }) => title)).toEqual([
      'Throughput against batch: resnet20, float32, 1 thread, 1 lane',
      'Throughput against batch: resnet20, bfloat16, 1 thread, 2 lanes',
    ])
  })

  test('latency against load: over images a second, whether the rate was given or a share', () => {
    const open = (load: Load, offeredPerSecond: number, rate: number) =>
      at({ load }, { ...round(rate), offeredPerSecond })
    const [chart] = charts(
      open({ kind: 'open', share: 0.9 }, 90, 20),
      open({ kind: 'open', share: 0.5 }, 50, 200),
      open({ kind: 'rate', perSecond: 70 }, 70, 100),
    )
    expect(chart?.title).toBe('Latency against load: resnet20, 1 thread, batches up to 2')
    const lines = series(chart?.option)
    expect(lines.map(({ name }) => name)).toEqual(['resnet, p50', 'resnet, p99'])
    expect(lines[0]?.data).toEqual([
      [50, 10],
      [70, 20],
      [90, 100],
    ])
  })

  test('the breakdown has a bar a trial, its stages stacked', () => {
    const stages = { queueMs: 1, decodeMs: 2, computeMs: 3, restMs: 0.5, meanBatch: 2 }
    const list = charts(at({ images: ['a.jpg'] }, { ...round(100), stages }), at({ batch: 1 }, round(100)))
    const chart = list.find(({ title }) => title === 'Where an image spends its time')
    expect(chart?.rows).toBe(1)
    expect(series(chart?.option).map(({ name, data }) => [name, data])).toEqual([
      ['queue', [1]],
      ['decode', [2]],
      ['compute', [3]],
      ['rest', [0.5]],
    ])
  })
})

test('stages add up to the call', () => {
  const none = {
    calls: 0,
    images: 0,
    batches: 0,
    callMs: 0,
    queueMs: 0,
    decodeMs: 0,
    computeMs: 0,
    weighted: false,
  }
  // Ten calls of one image each, 12 ms a call; five batches of 6 ms.
  const after = { calls: 10, images: 10, batches: 5, callMs: 120, queueMs: 20, decodeMs: 30, computeMs: 30 }
  expect(stagesBetween(none, { ...after, weighted: false })).toEqual({
    queueMs: 2,
    decodeMs: 3,
    computeMs: 6,
    restMs: 1,
    meanBatch: 2,
  })
  expect(stagesBetween(none, { ...after, computeMs: 60, weighted: true })?.computeMs).toBe(6)
  expect(stagesBetween(none, none)).toBeUndefined()
})

test('the bound of a network follows the ceilings', async () => {
  const limits = (gflops: number, copied: number, threads = 1) => [
    { name: 'a', value: gflops, unit: 'GFLOP/s float32', threads },
    { name: 'b', value: copied, unit: 'GB/s', threads },
  ]
  const bound = (await boundOf(trial, limits(100, 10))) as number
  expect(bound).toBeGreaterThan(1)
  expect(await boundOf(trial, limits(200, 20))).toBeCloseTo(2 * bound)
  // Far from the memory's ceiling it is the arithmetic: images a second are proportional to it.
  const arithmetic = (await boundOf(trial, limits(1, 1e9))) as number
  expect(await boundOf(trial, limits(3, 1e9))).toBeCloseTo(3 * arithmetic)
  expect(await boundOf(trial, limits(100, 10, 2))).toBeUndefined()
})

test('GPUs as nvidia-smi tells them', () => {
  const lines =
    'NVIDIA H200, 580.95.05, 143771, 345, 1980, 700.00\nNVIDIA L4, 580.95.05, 23034, [N/A], 2040, 72.00\n'
  expect(parseGpus(lines)).toEqual([
    {
      name: 'NVIDIA H200',
      driver: '580.95.05',
      memoryMb: 143771,
      clockMhz: 345,
      maxClockMhz: 1980,
      powerLimitWatts: 700,
    },
    {
      name: 'NVIDIA L4',
      driver: '580.95.05',
      memoryMb: 23034,
      clockMhz: Number.NaN,
      maxClockMhz: 2040,
      powerLimitWatts: 72,
    },
  ])
  expect(parseGpus('')).toEqual([])
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

  test('lanes have a caller each', async () => {
    let running = 0
    let most = 0
    const bind = () => async () => {
      most = Math.max(most, ++running)
      await new Promise((resolve) => setTimeout(resolve, 5))
      --running
      return new Float32Array(1)
    }
    await measure({ trial: { ...trial, lanes: 3 }, opened: { ...opened(0), bind }, openMs: 0, seconds: 0.1 })
    expect(most).toBe(3)
  })

  test('it warms up until it is steady, and says when it never was', async () => {
    let calls = 0
    // Slower and slower: no three windows agree.
    const bind = () => async () => {
      await new Promise((resolve) => setTimeout(resolve, 20 * 1.15 ** (calls++ / 5)))
      return new Float32Array(1)
    }
    const unsteady = await measure({ trial, opened: { ...opened(0), bind }, openMs: 0, seconds: 0.01 })
    expect(unsteady.steady).toBe(false)
    expect(unsteady.warmUpMs).toBeGreaterThan(9_999)
  }, 60_000)

  test('the logits of a second call are checked before anything is timed', async () => {
    const check = () => {
      throw new Error('wrong')
    }
    await expect(measure({ trial, opened: opened(1), openMs: 0, seconds: 10, check })).rejects.toThrow(
      'wrong',
    )
  })

  test('calls never start before they are due', async () => {
    const arrivals = poissonArrivals(300, 300)
    const begin = performance.now()
    const starts: number[] = []
    const call = async () => void starts.push(performance.now() - begin)
    const { latencies } = await makeCalls(call, { kind: 'open', arrivals }, 1)
    expect(starts).toHaveLength(arrivals.length)
    for (const [i, start] of starts.entries())
      expect(start).toBeGreaterThanOrEqual((arrivals[i] as number) - 0.01)
    expect(Math.min(...latencies)).toBeGreaterThanOrEqual(0)
  })

  test('an open loop whose calls fail in the middle is not measured', async () => {
    let made = 0
    const call = async () => {
      if (++made === 2) throw new Error('status 500')
    }
    const arrivals = Array.from({ length: 200 }, (_, i) => i)
    await expect(makeCalls(call, { kind: 'open', arrivals }, 1)).rejects.toThrow('status 500')
    // The others of the arrivals are not waited for.
    expect(made).toBeLessThan(100)
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

test.each(['stream', 'callers', 'decode', 'network'])(
  'the pipeline without pictures ends with an error: %s',
  async (way) => {
    const program = path.join(packageRoot, 'bench', 'pipeline', 'ours.mjs')
    const call = {
      way,
      checkpoint: models.digits,
      buffers: [],
      seconds: 1,
      threads: 1,
      settings: { maxBatch: 2 },
    }
    const ended = promisify(execFile)(process.execPath, [program, JSON.stringify(call)], { timeout: 30_000 })
    const { code, stderr } = await ended.catch((error) => error)
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringContaining('expected at least one picture, received none'),
    })
  },
)

test('a file that is none of ours is refused', async () => {
  const file = path.join(folder, 'other.json')
  writeFileSync(file, '{"version": 1}')
  expect((await refusal(() => readResults(file))).code).toBe('ERR_RESNET_CORRUPT')
  expect((await refusal(() => readResults(path.join(folder, 'none.json')))).code).toBe('ERR_RESNET_IO')
  writeFileSync(file, '{"format": "resnet-bench", "version": 1, "rows": []}')
  const { code, message } = await refusal(() => readResults(file))
  expect(code).toBe('ERR_RESNET_CORRUPT')
  expect(message).toMatch(/expected 'machine' and 'trials' in '.*', received format, version, rows/)
})

test.each([
  ['null', null, /expected format 'resnet-bench' version 1/],
  ['no machine', { ...results([1]), machine: null }, /expected 'machine' and 'trials'/],
  [
    'a trial that is none',
    { ...results([1]), trials: [7] },
    /expected trials\[0\] of '.*' to be a trial, received 7;/,
  ],
  [
    'no drivers',
    { ...results([1]), trials: [{ ...trial, name }] },
    /trials\[0\]\.drivers .* received undefined;/,
  ],
  [
    'a round that is none',
    { ...results([1]), trials: [{ ...trial, name, drivers: [{ driver: 'resnet', rounds: [{}] }] }] },
    /trials\[0\]\.drivers\[0\]\.rounds\[0\] .* received an object \(Object\);/,
  ],
])('results with %s are refused by what is wrong with them', async (_, content, words) => {
  const file = path.join(folder, 'odd.json')
  writeFileSync(file, JSON.stringify(content))
  const { code, message } = await refusal(() => readResults(file))
  expect(code).toBe('ERR_RESNET_CORRUPT')
  expect(message).toMatch(words)
})

const testOnUnix = process.platform === 'win32' ? test.skip : test
testOnUnix('a pipe is written to, and stays one', async () => {
  const pipe = path.join(folder, 'pipe')
  execFileSync('mkfifo', [pipe])
  const reading = readFile(pipe, 'utf8')
  await writeWhole(pipe, 'results')
  expect(await reading).toBe('results')
  expect(statSync(pipe).isFIFO()).toBe(true)
  await checkWritable(pipe)
})

test('what cannot be written is said before anything is measured', async () => {
  const cli = path.join(packageRoot, 'dist', 'cli', 'main.js')
  const words = 'bench --network resnet20 --size 32 --batch 1 --rounds 1 --seconds 0.1'.split(' ')
  for (const [option, file, why] of [
    ['--output', path.join('none', 'out.json'), /cannot write 'none.out\.json': .*ENOENT/],
    ['--report', path.join('none', 'out.html'), /cannot write 'none.out\.html': .*ENOENT/],
    ['--output', folder, /cannot write '.*': it is a folder/],
  ] as const) {
    const ended = promisify(execFile)(process.execPath, [cli, ...words, option, file], { cwd: folder })
    const { code, stdout, stderr } = await ended.catch((error) => error)
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(why)
  }
}, 60_000)

test('the command compares, tells what else was different, and fails when something is worse', async () => {
  const [before, after] = ['before.json', 'after.json'].map((file) => path.join(folder, file)) as [
    string,
    string,
  ]
  const { machine, ...slower } = results([80, 81, 79, 80, 82])
  writeFileSync(before, JSON.stringify(results([100, 101, 99, 100, 102])))
  writeFileSync(after, JSON.stringify({ ...slower, machine: { ...machine, isa: 'portable', loadBefore: 7 } }))
  const cli = path.join(packageRoot, 'dist', 'cli', 'main.js')
  const run = (...files: string[]) =>
    promisify(execFile)(process.execPath, [cli, 'bench', 'compare', ...files])
  const worse = await run(before, after).catch((error) => error)
  expect(worse.code).toBe(1)
  expect(worse.stdout).toMatch(/resnet: images\/s +x 0\.800 \(95 % interval 0\.7\d+ to 0\.8\d+\): worse/)
  expect(worse.stderr).toMatch(/Note: different isa, 'avx2' and 'portable'\./)
  expect(worse.stderr).toMatch(/other programs ran before the second was measured, load average 7\.0/)
  expect(await run(before, before)).toEqual({
    stderr: '',
    stdout: expect.stringMatching(/no difference shown/),
  })
  const [gpu] = parseGpus('NVIDIA L4, 580.95.05, 23034, 2040, 2040, 72.00\n')
  const { trials, ...others } = results([100, 101, 99, 100, 102])
  const elsewhere = trials.map((row) => ({
    ...row,
    drivers: row.drivers.map((driver) => ({ ...driver, version: '2' })),
  }))
  writeFileSync(
    after,
    JSON.stringify({ ...others, machine: { ...machine, gpus: [gpu] }, seconds: 3, trials: elsewhere }),
  )
  const { stderr } = await run(before, after)
  expect(stderr.split('\n')).toEqual([
    "Note: different GPU, '' and 'NVIDIA L4, driver 580.95.05'.",
    "Note: different seconds a round, '1' and '3'.",
    "Note: different version of resnet, '1' and '2'.",
    '',
  ])
}, 60_000)

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
  expect(readFileSync(html, 'utf8').match(/<svg/g)).toHaveLength(8)
  const again = path.join(folder, 'again.html')
  await promisify(execFile)(process.execPath, [cli, 'bench', 'report', output, '-o', again])
  expect(readFileSync(again, 'utf8')).toBe(readFileSync(html, 'utf8'))
}, 120_000)

test('shares of more than the bound are explained', () => {
  const row = {
    step: 'a',
    implementation: 'winograd f4x4',
    milliseconds: 1,
    gflops: 1,
    gigabytesPerSecond: 1,
  }
  const told = (bound: number) =>
    layersText('x', { network: 'x', batch: 1, threads: 1, rows: [{ ...row, bound }] })
  expect(told(1.2)).toMatch(/120 % of the bound\n {2}More than 100 %: .*Winograd/)
  expect(told(0.9)).toMatch(/ 90 % of the bound\n$/)
})

test('lanes, and encoded images beside tensors, are trials of their own; --limits gives their bound', async () => {
  const output = path.join(folder, 'lanes.json')
  const image = path.join(packageRoot, 'models', 'samples', '3.png')
  const words =
    'bench --network resnet20 --size 32 --batch 2 --threads 2 --lanes 2 --rounds 1 --seconds 0.3 --limits'
  const cli = path.join(packageRoot, 'dist', 'cli', 'main.js')
  const { stdout } = await promisify(execFile)(process.execPath, [
    cli,
    ...words.split(' '),
    ...['--images', image, '--output', output],
  ])
  const { trials, limits }: Results = JSON.parse(readFileSync(output, 'utf8'))
  expect(trials.map((found) => found.name)).toEqual([
    'resnet20 32x32 float32 cpu batch 2 threads 2 lanes 2',
    'resnet20 32x32 float32 cpu batch 2 threads 2 lanes 2 images',
  ])
  const [tensors, images] = trials
  expect(tensors?.drivers[0]?.settings).toMatchObject({ lanes: 2 })
  expect(tensors?.drivers[0]?.rounds[0]?.stages).toMatchObject({ decodeMs: 0, meanBatch: 2 })
  expect(images?.drivers[0]?.rounds[0]?.stages?.decodeMs).toBeGreaterThan(0)
  expect(images?.images).toEqual(['3.png'])
  expect(limits?.length).toBeGreaterThan(2)
  expect(tensors?.boundPerSecond).toBeGreaterThan(10)
  expect(images?.boundPerSecond).toBeUndefined()
  expect(stdout).toMatch(/of the bound\n.* \d+ %/)
  expect(stdout).toMatch(/resnet, of an image: queue .* decode /)
}, 120_000)
