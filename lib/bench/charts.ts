import { figures } from './compare.js'
import { median } from './statistics.js'
import type { Measured, Results, TrialResult } from './types.js'

/** An option object of ECharts, whose own types need those of a browser. */
export type ChartOption = Record<string, unknown>

export interface Chart {
  title: string
  /** What the reader should take from it, in one sentence. */
  caption: string
  option: ChartOption
  /** Lines of the legend below. */
  legend: number
  /** Of a chart that is as high as it has rows. */
  rows?: number
}

export interface Line {
  name: string
  points: [number, number][]
}

/** The charts that the results have data for. */
export function chartsOf(results: Results): Chart[] {
  const charts = [throughput(results), latency(results), breakdown(results), layers(results)]
  return charts.filter((chart) => chart !== undefined)
}

function throughput({ trials }: Results): Chart | undefined {
  const closed = trials.filter(({ load, http }) => load.kind === 'closed' && http === undefined)
  const lines = linesOf(closed, ({ batch }) => batch, figures['images/s'].of, subjectOf(closed))
  if (lines.length === 0) return undefined
  return {
    title: 'Throughput against batch',
    caption: 'Images a second, one call after another; medians of the rounds. Higher is better.',
    legend: lines.length,
    option: lineChart(lines, 'images a call', 'images/s', 'log'),
  }
}

function latency({ trials }: Results): Chart | undefined {
  const open = trials.filter(({ load }) => load.kind !== 'closed')
  const subject = subjectOf(open)
  const lines = (['p50 ms', 'p99 ms'] as const).flatMap((figure) =>
    linesOf(
      open,
      (_, rounds) => median(rounds.map(({ offeredPerSecond }) => offeredPerSecond ?? Number.NaN)),
      figures[figure].of,
      (trial) =>
        `${subject(trial)}${trial.http ? '' : `, batches up to ${trial.batch}`}, ${figure.slice(0, 3)}`,
    ),
  )
  if (lines.length === 0) return undefined
  return {
    title: 'Latency against load',
    caption:
      'Single images that arrive at random (Poisson), latency from the intended arrival; medians of the rounds. Lower is ' +
      'better; where more arrives than can be done, it grows for as long as it is measured.',
    legend: lines.length,
    option: lineChart(lines, 'arriving images/s', 'ms', 'value', spread(lines) > manyfold ? 'log' : 'value'),
  }
}

/** From here on a linear axis hides the lower lines. */
const manyfold = 30

function spread(lines: readonly Line[]): number {
  const values = lines.flatMap(({ points }) => points.map(([, y]) => y)).filter((y) => y > 0)
  return Math.max(...values) / Math.min(...values)
}

const stageNames = { queueMs: 'queue', decodeMs: 'decode', computeMs: 'compute', restMs: 'rest' } as const

function breakdown({ trials }: Results): Chart | undefined {
  const rows = trials.flatMap(({ name, drivers }) =>
    drivers.flatMap(({ rounds }) => {
      const known = rounds.flatMap(({ stages }) => stages ?? [])
      if (known.length === 0) return []
      const of = (stage: keyof typeof stageNames) => round(median(known.map((stages) => stages[stage])))
      return [{ name, of }]
    }),
  )
  if (rows.length === 0) return undefined
  rows.reverse()
  return {
    title: 'Where an image spends its time',
    caption:
      'Milliseconds from call to result, means of an image by model.stats(), medians of the rounds: waiting for a place in a ' +
      'batch, reading and decoding, the run of its batch, and the rest (hand-over, results, JavaScript).',
    legend: 1,
    rows: rows.length,
    option: {
      legend: { bottom: 0 },
      grid: { left: 12, right: 40, top: 10, bottom: 70, containLabel: true },
      xAxis: { type: 'value', name: 'ms', nameLocation: 'middle', nameGap: 28 },
      yAxis: { type: 'category', data: rows.map(({ name }) => name), axisLabel: { fontSize: 11 } },
      series: (Object.keys(stageNames) as (keyof typeof stageNames)[]).map((stage) => ({
        type: 'bar',
        stack: 'stages',
        name: stageNames[stage],
        barMaxWidth: 22,
        data: rows.map(({ of }) => of(stage)),
      })),
    },
  }
}

const mostLayers = 30

function layers({ layers: tables = [] }: Results): Chart | undefined {
  const table = tables[0]
  if (table === undefined) return undefined
  const slowest = [...table.rows]
    .sort((a, b) => b.milliseconds - a.milliseconds)
    .slice(0, mostLayers)
    .reverse()
  return {
    title: `Where the time goes: ${table.network}, batch ${table.batch}, ${threadsText(table.threads)}`,
    caption: `The ${slowest.length} slowest steps, milliseconds of one batch.`,
    legend: 0,
    option: {
      grid: { left: 180, right: 60, top: 20, bottom: 50 },
      xAxis: { type: 'value', name: 'ms', nameLocation: 'middle', nameGap: 30 },
      yAxis: { type: 'category', data: slowest.map(({ step }) => step), axisLabel: { fontSize: 10 } },
      series: [{ type: 'bar', data: slowest.map(({ milliseconds }) => round(milliseconds)) }],
    },
  }
}

/** What tells the lines of a chart apart: the network, and what else is not the same in all trials. */
function subjectOf(trials: readonly TrialResult[]): (trial: TrialResult) => string {
  const varies = (of: (trial: TrialResult) => unknown) => new Set(trials.map(of)).size > 1
  const dtypes = varies(({ dtype }) => dtype)
  const devices = varies(({ device }) => device)
  const lanes = varies((trial) => trial.lanes ?? 1)
  const inputs = varies((trial) => trial.images === undefined)
  return (trial) => {
    if (trial.http !== undefined) return trial.name.replace(/ (open|at) .*/, '')
    return [
      trial.network.name,
      ...(dtypes ? [trial.dtype] : []),
      ...(devices ? [trial.device] : []),
      threadsText(trial.threads),
      ...(lanes ? [`${trial.lanes ?? 1} lanes`] : []),
      ...(inputs && trial.images !== undefined ? ['from images'] : []),
    ].join(', ')
  }
}

export function threadsText(threads: number): string {
  return threads === 1 ? '1 thread' : `${threads} threads`
}

/** A line per group of trials and driver. */
function linesOf(
  trials: readonly TrialResult[],
  x: (trial: TrialResult, rounds: readonly Measured[]) => number,
  y: (round: Measured) => number,
  group: (trial: TrialResult) => string,
): Line[] {
  const lines = new Map<string, Line>()
  for (const trial of trials) {
    for (const { driver, rounds } of trial.drivers) {
      if (rounds.length === 0) continue
      const name = `${group(trial)}, ${driver}`
      const line = lines.get(name) ?? { name, points: [] }
      line.points.push([round(x(trial, rounds)), round(median(rounds.map(y)))])
      lines.set(name, line)
    }
  }
  return [...lines.values()].map(({ name, points }) => ({ name, points: points.sort(([a], [b]) => a - b) }))
}

/** Pixels that one line of the legend takes. */
export const legendLine = 21

type Scale = 'log' | 'value'

export function lineChart(
  lines: readonly Line[],
  x: string,
  y: string,
  xScale: Scale,
  yScale: Scale = 'value',
): ChartOption {
  return {
    legend: { bottom: 0, left: 60, orient: 'vertical', itemGap: 6 },
    grid: { left: 70, right: 40, top: 36, bottom: 60 + legendLine * lines.length },
    xAxis: {
      type: xScale,
      ...(xScale === 'log' ? { logBase: 2 } : { min: 0 }),
      name: x,
      nameLocation: 'middle',
      nameGap: 30,
    },
    yAxis: { type: yScale, name: y, ...(yScale === 'value' ? { min: 0 } : {}) },
    series: lines.map(({ name, points }) => ({ type: 'line', name, data: points, symbolSize: 7 })),
  }
}

function round(value: number): number {
  return Number(value.toPrecision(4))
}
