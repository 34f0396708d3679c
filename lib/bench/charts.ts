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
}

export interface Line {
  name: string
  points: [number, number][]
}

/** The charts that the results have data for. */
export function chartsOf(results: Results): Chart[] {
  return [throughput(results), latency(results), layers(results)].filter((chart) => chart !== undefined)
}

function throughput({ trials }: Results): Chart | undefined {
  const closed = trials.filter(({ load }) => load.kind === 'closed')
  const lines = linesOf(closed, ({ batch }) => batch, figures['images/s'].of, networkAndThreads)
  if (lines.length === 0) return undefined
  return {
    title: 'Throughput against batch',
    caption: 'Images a second, one call after another; medians of the rounds. Higher is better.',
    legend: lines.length,
    option: lineChart(lines, 'images a call', 'images/s', 'log'),
  }
}

function latency({ trials }: Results): Chart | undefined {
  const open = trials.filter(({ load }) => load.kind === 'open')
  const at = (figure: (round: Measured) => number, percentile: string) =>
    linesOf(
      open,
      ({ load }) => (load.kind === 'open' ? load.share * 100 : 0),
      figure,
      (trial) => `${networkAndThreads(trial)}, batches up to ${trial.batch}, ${percentile}`,
    )
  const lines = [...at(figures['p50 ms'].of, 'p50'), ...at(figures['p99 ms'].of, 'p99')]
  if (lines.length === 0) return undefined
  return {
    title: 'Latency against load',
    caption:
      'Single images arriving at random, latency from the intended arrival; the load is a share of what the closed loop ' +
      'reached. Lower is better.',
    legend: lines.length,
    option: lineChart(lines, 'load, % of capacity', 'ms', 'value'),
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

function networkAndThreads({ network, threads }: TrialResult): string {
  return `${network.name}, ${threadsText(threads)}`
}

export function threadsText(threads: number): string {
  return threads === 1 ? '1 thread' : `${threads} threads`
}

/** A line per group of trials and driver. */
function linesOf(
  trials: readonly TrialResult[],
  x: (trial: TrialResult) => number,
  y: (round: Measured) => number,
  group: (trial: TrialResult) => string,
): Line[] {
  const lines = new Map<string, Line>()
  for (const trial of trials) {
    for (const { driver, rounds } of trial.drivers) {
      if (rounds.length === 0) continue
      const name = `${group(trial)}, ${driver}`
      const line = lines.get(name) ?? { name, points: [] }
      line.points.push([x(trial), round(median(rounds.map(y)))])
      lines.set(name, line)
    }
  }
  return [...lines.values()].map(({ name, points }) => ({ name, points: points.sort(([a], [b]) => a - b) }))
}

/** Pixels that one line of the legend takes. */
export const legendLine = 21

export function lineChart(lines: readonly Line[], x: string, y: string, scale: 'log' | 'value'): ChartOption {
  return {
    legend: { bottom: 0, left: 60, orient: 'vertical', itemGap: 6 },
    grid: { left: 70, right: 40, top: 30, bottom: 60 + legendLine * lines.length },
    xAxis: {
      type: scale,
      ...(scale === 'log' ? { logBase: 2 } : {}),
      name: x,
      nameLocation: 'middle',
      nameGap: 30,
    },
    yAxis: { type: 'value', name: y, min: 0 },
    series: lines.map(({ name, points }) => ({ type: 'line', name, data: points, symbolSize: 7 })),
  }
}

function round(value: number): number {
  return Number(value.toPrecision(4))
}
