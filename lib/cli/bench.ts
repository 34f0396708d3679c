import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { type Comparison, compare } from '../bench/compare.js'
import { boundOf, layerTable } from '../bench/layers.js'
import { limitsOf } from '../bench/limits.js'
import { findPeers, type PeerName, peerNames, requirePeers } from '../bench/peers.js'
import { loadECharts, report } from '../bench/report.js'
import { checkWritable, readResults, withoutFolders, writeWhole } from '../bench/results.js'
import { nameOf, runTrials } from '../bench/run.js'
import { seedNetwork } from '../bench/seeded.js'
import type { LayerTable, Limit, Network, Results, Trial, TrialResult } from '../bench/types.js'
import { layersText, limitsText, tableOf } from './bench-table.js'
import { trialsOf } from './bench-trials.js'
import { complain, type ExitCode, exitCode } from './exit.js'
import { Output, print } from './output.js'

export interface BenchOptions {
  network: string[]
  model?: string
  onnx?: string
  size: number
  batch: number[]
  threads: number[]
  /** Absent: as the model itself decides. */
  lanes?: number[]
  /** Absent: the device's own. */
  dtype?: string[]
  device: string
  load: number[]
  rate: number[]
  images?: string[]
  peer: (PeerName | 'installed')[]
  python?: string
  url?: string
  server?: string
  connections: number[]
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
  // What cannot be written is said before it is measured.
  const { output, report } = options
  if (report !== undefined) loadECharts()
  for (const file of [output, report]) if (file !== undefined) await checkWritable(file)
  const interrupt = new AbortController()
  const onInterrupt = () => interrupt.abort(new Error('interrupted'))
  // Once: a second Ctrl+C ends the process at once.
  process.once('SIGINT', onInterrupt)
  const folder = await mkdtemp(path.join(tmpdir(), 'resnet-bench-'))
  try {
    return await measureIn({ folder, signal: interrupt.signal }, options, print)
  } catch (error) {
    if (!interrupt.signal.aborted) throw error
    return exitCode.interrupted
  } finally {
    await rm(folder, { recursive: true })
    process.off('SIGINT', onInterrupt)
  }
}

interface Means {
  /** For files that are not kept. */
  folder: string
  signal: AbortSignal
}

async function measureIn({ folder, signal }: Means, options: BenchOptions, print: Print): Promise<ExitCode> {
  const { trials, peers, others } = await withPeers(folder, options)
  const limits = options.limits ? await limitsOf(trials, signal) : undefined
  if (limits !== undefined) await print(limitsText(limits))
  const bounds = new Map<string, number>()
  for (const trial of limits === undefined ? [] : trials.filter(isBounded)) {
    const bound = await boundOf(trial, limits ?? [])
    if (bound !== undefined) bounds.set(nameOf(trial), bound)
  }
  const withBound = (trial: TrialResult): TrialResult => {
    const boundPerSecond = bounds.get(trial.name)
    return boundPerSecond === undefined ? trial : { ...trial, boundPerSecond }
  }
  const measured = await runTrials({
    trials,
    drivers: ['resnet', ...peers],
    rounds: options.rounds,
    seconds: options.seconds,
    peers: process.cwd(),
    python: options.python,
    signal,
    onTrial: (trial) => void print(tableOf(withBound(trial))),
  })
  if (options.peer.length > 0)
    await print(`\nPeers not ${peers.length > 0 ? 'asked for' : 'measured'}: ${listed(others)}\n`)
  const layers = options.layers ? await layerTables(trials, limits, print, signal) : undefined
  const all = withoutFolders({
    ...measured,
    trials: measured.trials.map(withBound),
    ...(limits ? { limits } : {}),
    ...(layers ? { layers } : {}),
    ...(peers.length > 0 ? { otherPeers: others } : {}),
  })
  if (options.output !== undefined) await writeWhole(options.output, `${JSON.stringify(all, null, 2)}\n`)
  if (options.report !== undefined) await writeWhole(options.report, report(all))
  const failed = all.trials.flatMap(({ drivers }) => drivers.filter(({ error }) => error !== undefined))
  return failed.length > 0 ? exitCode.someFailed : exitCode.ok
}

interface Planned {
  trials: Trial[]
  /** Those to measure, which are there, and what became of the others. */
  peers: PeerName[]
  others: Record<string, string>
}

/** The trials; where peers are asked for, random weights are in files, which `folder` holds. */
async function withPeers(folder: string, options: BenchOptions): Promise<Planned> {
  const trials = await trialsOf(options)
  const { peer, python } = options
  if (peer.length === 0 || trials.some(({ http }) => http !== undefined)) {
    return { trials, peers: [], others: {} }
  }
  const places = { folder: process.cwd(), python }
  const found = peer.includes('installed') ? await findPeers(places) : undefined
  const peers = peerNames.filter((name) => {
    if (peer.includes(name)) return true
    return found !== undefined && 'version' in found[name]
  })
  const seeded = new Map<Network, Network>()
  for (const { network } of trials) {
    if (seeded.has(network)) continue
    seeded.set(network, network.checkpoint === undefined ? seedNetwork(folder, network) : network)
  }
  const others = await requirePeers(peers, [...seeded.values()], places)
  return {
    trials: trials.map((trial) => ({ ...trial, network: seeded.get(trial.network) as Network })),
    peers,
    others,
  }
}

function listed(others: Record<string, string>): string {
  const names = Object.entries(others).map(([name, version]) => `${name} (${version})`)
  return names.length === 0 ? 'none' : names.join(', ')
}

/** One call after another of tensors: what a network's bound can be compared with. */
function isBounded({ load, images, http }: Trial): boolean {
  return load.kind === 'closed' && images === undefined && http === undefined
}

async function layerTables(
  trials: readonly Trial[],
  limits: readonly Limit[] | undefined,
  print: Print,
  signal: AbortSignal,
): Promise<LayerTable[]> {
  const tables: LayerTable[] = []
  for (const trial of trials.filter(isBounded)) {
    signal.throwIfAborted()
    const table = await layerTable(trial, limits)
    tables.push(table)
    await print(layersText(nameOf(trial), table))
  }
  return tables
}

/** `resnet bench compare`: whether the second result differs from the first. Exit code 1 when something is worse. */
export async function benchCompare(a: string, b: string, { json }: { json?: boolean }): Promise<ExitCode> {
  const [before, after] = await Promise.all([readResults(a), readResults(b)])
  const rows = compare(before, after)
  if (rows.length === 0) {
    complain(`resnet: '${a}' and '${b}' have no trial in common.`)
    return exitCode.usage
  }
  for (const note of differences(before, after)) complain(`Note: ${note}.`)
  await print(json ? rows.map((row) => `${JSON.stringify(row)}\n`).join('') : rows.map(lineOf).join(''))
  return rows.some(({ verdict }) => verdict === 'worse') ? exitCode.someFailed : exitCode.ok
}

const compared = ['cpu', 'available', 'isa', 'governor', 'platform', 'kernel', 'node'] as const

/** What else than the code may have made a difference. */
function differences(before: Results, after: Results): string[] {
  const notes = compared.flatMap((key) => differing(key, before.machine[key], after.machine[key]))
  notes.push(...differing('GPU', gpusOf(before), gpusOf(after)))
  notes.push(...differing('seconds a round', before.seconds, after.seconds))
  const versions = versionsOf(after)
  for (const [driver, version] of versionsOf(before)) {
    if (versions.has(driver)) notes.push(...differing(`version of ${driver}`, version, versions.get(driver)))
  }
  for (const [name, { machine }] of Object.entries({ first: before, second: after })) {
    if (machine.loadBefore > machine.available / 2) {
      notes.push(
        `other programs ran before the ${name} was measured, load average ${machine.loadBefore.toFixed(1)}`,
      )
    }
  }
  return notes
}

function differing(what: string, before: unknown = '', after: unknown = ''): string[] {
  return before === after ? [] : [`different ${what}, '${before}' and '${after}'`]
}

function gpusOf({ machine: { gpus = [] } }: Results): string {
  return gpus.map(({ name, driver }) => `${name}, driver ${driver}`).join('; ')
}

/** By driver; '' is not known. */
function versionsOf({ trials }: Results): Map<string, string> {
  const known = trials.flatMap(({ drivers }) => drivers.filter(({ version }) => version !== ''))
  return new Map(known.map(({ driver, version }) => [driver, version]))
}

function lineOf({ trial, driver, figure, ratio, low, high, verdict }: Comparison): string {
  return (
    `${trial}, ${driver}: ${figure.padEnd(13)} x ${ratio.toFixed(3)} (95 % interval ${low.toFixed(3)} to ` +
    `${high.toFixed(3)}): ${verdict}\n`
  )
}

/** `resnet bench report`: draws a result file. */
export async function benchReport(file: string, { output }: { output: string }): Promise<ExitCode> {
  await writeWhole(output, report(await readResults(file)))
  await print(`Written to ${output}\n`)
  return exitCode.ok
}
