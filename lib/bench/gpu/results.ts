/** What `scripts/gpu-check` writes: one JSON document, made of the lines of its state. */
import { median } from '../statistics.js'
import { imagesPerSecond, measuredPlan, roofline } from './roofline.js'
import { type Found, type Line, outcomes, type StepOutcome } from './state.js'
import type { Mode } from './steps.js'

export const gpuFormat = 'resnet-gpu-check'
/** Rises when a field changes its meaning. */
export const gpuVersion = 1

/** A rate of the device, measured. */
export interface Ceiling {
  name: string
  value: number
  unit: string
  detail?: string
}
export interface Accuracy {
  suite: 'kernels' | 'operations' | 'networks'
  case: string
  /** max|ours - reference| / max|reference|; of kernels the cases that failed. */
  error: number
  bound: number
  good: boolean
  /** The same of PyTorch's own in that dtype. */
  peerError?: number
  /** Ours against a wrong answer, PyTorch's with one weight or input changed: above the bound, or the comparison is worth nothing. */
  controlError?: number
}
export interface Speed {
  network: string
  dtype: string
  batch: number
  /** 'resnet', 'resnet without graphs', 'pytorch eager', 'pytorch eager in a CUDA graph', 'torch.compile max-autotune'. */
  driver: string
  /** Whether images begin and logits end in the device's memory, or in the host's: uint8 in, float32 out. */
  memory: 'device' | 'host'
  /** Images a second, one of each round; rounds of all drivers alternate. */
  rounds: number[]
  /** Of a lone caller, where that was measured. */
  latencyMs?: { p50: number; p99: number }
  /** Images a second over those of the roofline, of this package where the ceilings are known. */
  share?: number
}
export interface GpuLayer {
  step: string
  implementation: string
  milliseconds: number
  bytes: number
  flop: number
  limit: 'memory' | 'compute'
  share?: number
}
export interface GpuLayers {
  network: string
  dtype: string
  batch: number
  rows: GpuLayer[]
}
/** Anything else that has a number; `most`: what it must not exceed. */
export interface FigureFound {
  name: string
  value: number
  unit: string
  most?: number
}
export interface Check {
  name: string
  good: boolean
  detail: string
}
export interface StepResult {
  step: string
  status: StepOutcome['status']
  seconds: number
  reason?: string
}

export interface GpuResults {
  format: typeof gpuFormat
  version: typeof gpuVersion
  date: string
  /** Of this package. */
  package: string
  mode: Mode
  /** Rehearsed without a device: nothing in it is a result. */
  dryRun: boolean
  /** Of a rehearsal: what stood for what. */
  simulated?: string
  /** What the numbers of each field are in, for whoever reads the file alone. */
  units: typeof units
  /** Name, multiprocessors, clocks, power, driver, versions; what cuDNN says of the device. */
  card: Record<string, unknown>
  ceilings: Ceiling[]
  accuracy: Accuracy[]
  speed: Speed[]
  layers: GpuLayers[]
  figures: FigureFound[]
  checks: Check[]
  /** Clocks, power and temperature while a step ran. */
  conditions: Record<string, unknown>[]
  notes: string[]
  steps: StepResult[]
}

const units = {
  accuracy: 'errors and bounds: max|ours - reference| / max|reference|; of kernels, cases that failed',
  speed: 'rounds: images/s; latencyMs: ms; share: of the images/s of the roofline, 1 being all',
  layers: 'milliseconds: ms; bytes: bytes; flop: FLOP; share: least time / time taken, 1 being all',
  conditions:
    'least, median and most while the step ran: smMhz, memoryMhz in MHz, powerW in W, temperature in degrees Celsius, usedMiB in MiB',
  steps: 'seconds: s',
} as const

const rehearsal =
  'A rehearsal: our side ran over a simulated CUDA device and cuDNN on the processor, PyTorch on the processor too, with small ' +
  'pictures and narrow networks. It shows that the steps run and that the answers agree. Its times are of the simulation: no figure ' +
  'in it is of any device.'

/** What roofline shares are taken against, by the network's dtype. */
export const copyCeiling = 'device copy'
export const matrixCeiling = (dtype: string) => `matrix ${dtype}`

/** @throws RangeError for lines without the head that every run writes. */
export function assemble(lines: readonly Line[]): GpuResults {
  const head = lines.findLast((line) => line.line === 'run')
  if (head?.line !== 'run') throw new RangeError('expected a file that gpu-check wrote: it has no head')
  const all = outcomes(lines)
  const found = all.flatMap((outcome) => outcome.found)
  const of = <T>(kind: string) => found.filter((one) => one.kind === kind).map(withoutKind<T>)
  const ceilings = of<Ceiling>('ceiling')
  // One rehearsed step makes the whole a rehearsal, whatever the last run was.
  const dryRun = lines.some((line) => line.line === 'run' && line.mode === 'dry')
  return {
    format: gpuFormat,
    version: gpuVersion,
    date: head.date,
    package: head.version,
    mode: head.mode,
    dryRun,
    ...(dryRun ? { simulated: rehearsal } : {}),
    units,
    card: Object.assign({}, ...of<Record<string, unknown>>('card')),
    ceilings,
    accuracy: of<Accuracy>('accuracy'),
    speed: withShares(merged(of<Speed>('speed')), ceilings, head.mode),
    layers: of<GpuLayers & { dtype: string }>('layers').map((table) => ({
      ...table,
      rows: table.rows.map((row) => withShare(row, table.dtype, ceilings)),
    })),
    figures: of<FigureFound>('figure'),
    checks: of<Check>('check'),
    conditions: all.flatMap(({ step, found: own }) =>
      own.filter(({ kind }) => kind === 'conditions').map((one) => ({ step, ...withoutKind<object>(one) })),
    ),
    notes: of<{ text: string }>('note').map(({ text }) => text),
    steps: all.map(({ step, status, seconds, reason }) => ({
      step,
      status,
      seconds,
      ...(reason === undefined ? {} : { reason }),
    })),
  }
}

function withoutKind<T>({ kind: _, ...fields }: Found): T {
  return fields as T
}

/** Rows of one trial become one: two steps may have measured it. */
function merged(rows: readonly Speed[]): Speed[] {
  const trials = new Map<string, Speed>()
  for (const row of rows) {
    const key = [row.network, row.dtype, row.batch, row.driver, row.memory].join()
    const known = trials.get(key)
    trials.set(key, known === undefined ? row : { ...known, rounds: [...known.rounds, ...row.rounds] })
  }
  return [...trials.values()]
}

/** GB/s and TFLOP/s of the network's dtype. */
function ratesOf(dtype: string, ceilings: readonly Ceiling[]) {
  const copy = ceilings.find(({ name }) => name === copyCeiling)?.value
  const matrix = ceilings.find(({ name }) => name === matrixCeiling(dtype))?.value
  if (copy === undefined || matrix === undefined) return undefined
  return { copyBytesPerSecond: copy * 1e9, flopPerSecond: matrix * 1e12 }
}

function withShares(rows: readonly Speed[], ceilings: readonly Ceiling[], mode: Mode): Speed[] {
  return rows.map((row) => {
    const rates = ratesOf(row.dtype, ceilings)
    // A rehearsal's networks are narrower than their names say.
    if (mode === 'dry' || rates === undefined || row.memory !== 'device') return row
    const bound = imagesPerSecond(roofline(measuredPlan(row.network, row.dtype), row.batch, rates), row.batch)
    return { ...row, share: median(row.rounds) / bound }
  })
}

/** The row with its least time's share of the time taken; as it is where a ceiling or the time is not known. */
export function withShare<Row extends Omit<GpuLayer, 'share'>>(
  row: Row,
  dtype: string,
  ceilings: readonly Ceiling[],
): Row & { share?: number } {
  const rates = ratesOf(dtype, ceilings)
  if (rates === undefined || row.milliseconds <= 0) return row
  const [memory, compute] = [row.bytes / rates.copyBytesPerSecond, row.flop / rates.flopPerSecond]
  return {
    ...row,
    limit: memory >= compute ? 'memory' : 'compute',
    share: (Math.max(memory, compute) * 1000) / row.milliseconds,
  }
}

/** What went wrong, a line each: wrong answers, missed bounds, failed checks, steps that did not end well. */
export function problemsOf({ accuracy, figures, checks, steps }: GpuResults): string[] {
  return [
    ...accuracy
      .filter(({ good }) => !good)
      .map((row) => `${row.suite}, ${row.case}: ${row.error}, at most ${row.bound}`),
    ...figures
      .filter(({ value, most }) => most !== undefined && !(value <= most))
      .map(({ name, value, unit, most }) => `${name}: ${value} ${unit}, at most ${most}`),
    ...checks.filter(({ good }) => !good).map(({ name, detail }) => `${name}: ${detail}`),
    ...steps
      .filter(({ status }) => !['done', 'skipped', 'not run'].includes(status))
      .map(({ step, status, reason }) => `${step}: ${status}${reason === undefined ? '' : `, ${reason}`}`),
  ]
}

/**
 * Why these are no results that may be kept; undefined: they are.
 * The guard of bench/results: a rehearsal's numbers are of a simulated device.
 */
export function refusal(results: Partial<GpuResults>): string | undefined {
  if (results.format !== gpuFormat || results.version !== gpuVersion) {
    return `expected format '${gpuFormat}' version ${gpuVersion}, received '${results.format}' version ${results.version}`
  }
  if (results.dryRun !== false || results.mode === 'dry') return 'it is a rehearsal without a device (dryRun)'
  if (typeof results.card?.name !== 'string')
    return "it does not say which card it was (step 'card.describe')"
  const bad = shapeProblem(results as GpuResults)
  return bad === undefined ? undefined : `${bad}; the file is damaged`
}

function shapeProblem(results: GpuResults): string | undefined {
  for (const field of ['ceilings', 'accuracy', 'speed', 'layers', 'figures', 'checks', 'steps'] as const) {
    if (!Array.isArray(results[field])) return `${field} is no list`
  }
  const finite = (value: unknown) => typeof value === 'number' && Number.isFinite(value)
  const odd = results.ceilings.find(({ value }) => !finite(value))
  if (odd !== undefined) return `the ceiling '${odd.name}' is ${odd.value}`
  const slow = results.speed.find(({ rounds }) => rounds.length === 0 || !rounds.every(finite))
  return slow === undefined
    ? undefined
    : `the rounds of ${slow.driver} at batch ${slow.batch} are not numbers`
}

/** 'NVIDIA H100 80GB HBM3' → 'nvidia-h100-80gb-hbm3': the folder of bench/results. */
export function cardSlug(name: string): string {
  return name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
}

/** Answers by suite, and what was not run: lines that a rehearsal may show too, since they hold no time. */
export function countsOf({ accuracy, checks, steps }: GpuResults): string[] {
  const suites = [...new Set(accuracy.map(({ suite }) => suite))]
  const notRun = steps.filter(({ status }) => status === 'not run').map(({ step }) => step)
  return [
    ...suites.map((suite) => {
      const rows = accuracy.filter((row) => row.suite === suite)
      const [good, controls] = [
        rows.filter((row) => row.good),
        rows.filter((row) => row.controlError !== undefined),
      ]
      const refused = controls.filter(({ controlError, bound }) => (controlError as number) > bound)
      const shown =
        controls.length === 0 ? '' : `; of ${controls.length} wrong ones ${refused.length} refused`
      return `answers, ${suite}: ${good.length} of ${rows.length} within their bounds${shown}`
    }),
    ...(checks.length === 0
      ? []
      : [`checks: ${checks.filter(({ good }) => good).length} of ${checks.length} hold`]),
    ...(notRun.length === 0 ? [] : [`not run: budget: ${notRun.join(', ')} (--resume runs them)`]),
  ]
}

/** The figures that a person looks for first, as lines. */
export function summaryOf({ speed, ceilings, figures }: GpuResults): string[] {
  const lines = ceilings.map(({ name, value, unit }) => `${name}: ${Number(value.toPrecision(4))} ${unit}`)
  const cells = new Map<string, Speed[]>()
  for (const row of speed) {
    const key = `${row.network} ${row.dtype} batch ${row.batch}, ${row.memory}`
    cells.set(key, [...(cells.get(key) ?? []), row])
  }
  for (const [cell, rows] of cells) {
    const ours = rows.find(({ driver }) => driver === 'resnet')
    const text = rows.map(({ driver, rounds }) => {
      const rate = median(rounds)
      const ratio =
        ours === undefined || driver === 'resnet'
          ? ''
          : ` (ours x ${(median(ours.rounds) / rate).toFixed(2)})`
      return `${driver} ${Math.round(rate)}${ratio}`
    })
    lines.push(`${cell}: ${text.join('; ')} images/s`)
  }
  return [
    ...lines,
    ...figures.map(({ name, value, unit }) => `${name}: ${Number(value.toPrecision(4))} ${unit}`),
  ]
}
