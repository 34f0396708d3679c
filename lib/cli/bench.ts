import { existsSync } from 'node:fs'
import path from 'node:path'
import { threadsText } from '../bench/charts.js'
import { type Comparison, compare } from '../bench/compare.js'
import { layerTable } from '../bench/layers.js'
import { report } from '../bench/report.js'
import { readResults, writeWhole } from '../bench/results.js'
import { nameOf, runTrials } from '../bench/run.js'
import { median } from '../bench/statistics.js'
import type { LayerTable, Limit, Load, Network, Trial, TrialResult } from '../bench/types.js'
import { invalidArgument } from '../errors.js'
import { addon, native } from '../native/call.js'
import { ResNet } from '../resnet.js'
import { complain, type ExitCode, exitCode } from './exit.js'
import { Output, print } from './output.js'

export interface BenchOptions {
  network: string[]
  model?: string
  onnx?: string
  size: number
  batch: number[]
  threads: number[]
  device: string
  load: number[]
  peer: string[]
  rounds: number
  seconds: number
  limits?: boolean
  layers?: boolean
  output?: string
  report?: string
}

/** `resnet bench`: measures, prints a table, and writes what was measured. */
export async function bench(options: BenchOptions): Promise<ExitCode> {
  const output = await Output.open()
  try {
    return await measureAll(options, (text) => output.write(text))
  } finally {
    await output.end()
  }
}

type Print = (text: string) => Promise<void>

async function measureAll(options: BenchOptions, print: Print): Promise<ExitCode> {
  const networks = await networksOf(options)
  const threadCounts = options.threads.map((count) => (count === 0 ? addon().cpuInfo().threads : count))
  const trials = networks.flatMap((network) =>
    threadCounts.flatMap((threads) =>
      options.batch.flatMap((batch) => loads(options, network, threads, batch)),
    ),
  )
  const limits = options.limits ? await measureLimits(Math.max(...threadCounts), print) : undefined
  const peers = options.peer.map((peer) => requirePeer(peer, options))
  const results = await runTrials({
    trials,
    drivers: ['resnet', ...peers],
    rounds: options.rounds,
    seconds: options.seconds,
    peers: process.cwd(),
    onTrial: (trial) => void print(tableOf(trial)),
  })
  const layers = options.layers ? await layerTables(trials, limits, print) : undefined
  const all = { ...results, ...(limits ? { limits } : {}), ...(layers ? { layers } : {}) }
  if (options.output !== undefined) await writeWhole(options.output, `${JSON.stringify(all, null, 2)}\n`)
  if (options.report !== undefined) await writeWhole(options.report, report(all))
  const failed = results.trials.flatMap(({ drivers }) => drivers.filter(({ error }) => error !== undefined))
  return failed.length > 0 ? exitCode.someFailed : exitCode.ok
}

async function networksOf({ network, model, onnx, size }: BenchOptions): Promise<Network[]> {
  if (model === undefined) return network.map((name) => ({ name, channels: 3, height: size, width: size }))
  const loaded = await ResNet.load(model)
  const { name, inChannels } = loaded.architecture
  await loaded.dispose()
  const checkpoint = path.resolve(model)
  return [
    {
      name,
      channels: inChannels,
      height: size,
      width: size,
      checkpoint,
      ...(onnx === undefined ? {} : { onnx: path.resolve(onnx) }),
    },
  ]
}

/** The closed loop comes first: it gives the rates of the open ones. */
function loads(options: BenchOptions, network: Network, threads: number, batch: number): Trial[] {
  const { device } = options
  const arrivals: Load[] = [
    { kind: 'closed' },
    ...options.load.map((share): Load => ({ kind: 'open', share })),
  ]
  return arrivals.map((load) => ({ network, device, dtype: 'float32', batch, threads, load }))
}

function requirePeer(peer: string, { onnx }: BenchOptions): string {
  if (onnx === undefined || !existsSync(onnx)) {
    throw invalidArgument(
      `bench: expected --model and --onnx, the same network in both formats, for the peer '${peer}', received ` +
        `--onnx ${onnx ?? 'none'}`,
    )
  }
  return peer
}

async function measureLimits(threads: number, print: Print): Promise<Limit[]> {
  const limits = await native(undefined, (cancel) => addon().measureLimits({ threads, ...cancel }))
  await print(
    `Limits of this machine\n${limits
      .map(
        ({ name, value, unit, threads: used }) =>
          `  ${name.padEnd(34)} ${value.toFixed(1).padStart(9)} ${unit}, ${threadsText(used)}\n`,
      )
      .join('')}`,
  )
  return limits
}

async function layerTables(
  trials: readonly Trial[],
  limits: readonly Limit[] | undefined,
  print: Print,
): Promise<LayerTable[]> {
  const tables: LayerTable[] = []
  for (const trial of trials.filter(({ load }) => load.kind === 'closed')) {
    const table = await layerTable(trial, limits)
    tables.push(table)
    const rows = table.rows.map(
      ({ step, implementation, milliseconds, gflops, bound }) =>
        `  ${step.padEnd(28)} ${implementation.padEnd(18)} ${milliseconds.toFixed(3).padStart(9)} ms ` +
        `${gflops.toFixed(1).padStart(8)} GFLOP/s${bound === undefined ? '' : `  ${Math.round(bound * 100)} % of the bound`}\n`,
    )
    await print(`\nSteps of ${nameOf(trial)}\n${rows.join('')}`)
  }
  return tables
}

function tableOf({ name, drivers }: TrialResult): string {
  const rows = drivers.map(({ driver, rounds, error }) => {
    if (error !== undefined) return `  ${driver.padEnd(18)} did not run: ${error.split('\n').at(-1)}\n`
    const of = (figure: (round: (typeof rounds)[number]) => number) => median(rounds.map(figure))
    const rates = rounds.map(({ imagesPerSecond }) => imagesPerSecond)
    return (
      `  ${driver.padEnd(18)} ${median(rates).toFixed(1)} images/s (${Math.min(...rates).toFixed(1)} to ` +
      `${Math.max(...rates).toFixed(1)}), p50 ${of(({ latencyMs }) => latencyMs.p50).toFixed(2)} ms, p99 ` +
      `${of(({ latencyMs }) => latencyMs.p99).toFixed(2)} ms, event loop ${of(({ eventLoopP99Ms }) => eventLoopP99Ms).toFixed(2)} ms, ` +
      `CPU ${of(({ cpuMsPerImage }) => cpuMsPerImage).toFixed(2)} ms/image, load ${of(({ loadMs }) => loadMs).toFixed(0)} ms, ` +
      `peak ${of(({ peakMb }) => peakMb).toFixed(0)} MB\n`
    )
  })
  return `\n${name}\n${rows.join('')}`
}

/** `resnet bench compare`: whether the second result differs from the first. Exit code 1 when something is worse. */
export async function benchCompare(a: string, b: string, { json }: { json?: boolean }): Promise<ExitCode> {
  const [before, after] = await Promise.all([readResults(a), readResults(b)])
  const rows = compare(before, after)
  if (rows.length === 0) {
    complain(`resnet: '${a}' and '${b}' have no trial in common.`)
    return exitCode.usage
  }
  if (before.machine.cpu !== after.machine.cpu) {
    complain(`Note: different processors, '${before.machine.cpu}' and '${after.machine.cpu}'.`)
  }
  await print(json ? rows.map((row) => `${JSON.stringify(row)}\n`).join('') : rows.map(lineOf).join(''))
  return rows.some(({ verdict }) => verdict === 'worse') ? exitCode.someFailed : exitCode.ok
}

function lineOf({ trial, driver, figure, ratio, low, high, verdict }: Comparison): string {
  return (
    `${trial}, ${driver}: ${figure.padEnd(12)} x ${ratio.toFixed(3)} (95 % interval ${low.toFixed(3)} to ` +
    `${high.toFixed(3)}): ${verdict}\n`
  )
}

/** `resnet bench report`: draws a result file. */
export async function benchReport(file: string, { output }: { output: string }): Promise<ExitCode> {
  await writeWhole(output, report(await readResults(file)))
  await print(`Written to ${output}\n`)
  return exitCode.ok
}
