import { type Figure, figures } from './compare.js'
import { peerNames } from './peers.js'
import { median } from './statistics.js'
import type { Layer, Measured, Results, TrialResult } from './types.js'

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
  driver: string
  /** What tells it apart from the driver's other lines; '' where there are none. */
  figure: string
  dashed: boolean
  points: [number, number][]
}

/** The charts that the results have data for. */
export function chartsOf(results: Results): Chart[] {
  const { trials } = results
  const charts = [...throughput(trials), ...latency(trials), breakdown(trials), layers(results)]
  return charts.filter((chart) => chart !== undefined)
}

/** A chart for every network and number of threads, a line for every driver. */
function throughput(trials: readonly TrialResult[]): Chart[] {
  const closed = trials.filter(({ load, http }) => load.kind === 'closed' && http === undefined)
  return [...groupsOf(closed, subjectOf(closed))].flatMap(([subject, group]) => {
    const lines = linesOf(group, ({ batch }) => batch, { figure: 'images/s' })
    if (lines.length === 0) return []
    return {
      title: `Throughput against batch: ${subject}`,
      caption: 'Images a second, one call after another; medians of the rounds. Higher is better.',
      legend: lines.length,
      option: lineChart(lines, { x: 'images a call', y: 'images/s', xScale: 'log', yScale: 'value' }),
    }
  })
}

/** A chart for every network, number of threads and largest batch; two lines for every driver. */
function latency(trials: readonly TrialResult[]): Chart[] {
  const open = trials.filter(({ load }) => load.kind !== 'closed')
  const subject = subjectOf(open)
  const groups = groupsOf(open, (trial) =>
    trial.http === undefined ? `${subject(trial)}, batches up to ${trial.batch}` : subject(trial),
  )
  const offered = (_: TrialResult, rounds: readonly Measured[]) =>
    median(rounds.map(({ offeredPerSecond }) => offeredPerSecond ?? Number.NaN))
  return [...groups].flatMap(([name, group]) => {
    const lines = [
      ...linesOf(group, offered, { figure: 'p50 ms', named: 'p50' }),
      ...linesOf(group, offered, { figure: 'p99 ms', named: 'p99', dashed: true }),
    ]
    if (lines.length === 0) return []
    return {
      title: `Latency against load: ${name}`,
      caption:
        'Single images that arrive at random (Poisson), latency from the intended arrival; medians of the rounds. Lower is ' +
        'better; where more arrives than can be done, it grows for as long as it is measured.',
      legend: lines.length,
      option: lineChart(lines, {
        x: 'arriving images/s',
        y: 'ms',
        xScale: 'value',
        yScale: spread(lines) > manyfold ? 'log' : 'value',
      }),
    }
  })
}

/** From here on a linear axis hides the lower lines. */
const manyfold = 30

function spread(lines: readonly Line[]): number {
  const values = lines.flatMap(({ points }) => points.map(([, y]) => y)).filter((y) => y > 0)
  return Math.max(...values) / Math.min(...values)
}

const stageColours = {
  queueMs: '#f0a202',
  decodeMs: '#1b9e77',
  computeMs: '#3d7fe0',
  restMs: '#9a9a9a',
} as const
const stageNames = { queueMs: 'queue', decodeMs: 'decode', computeMs: 'compute', restMs: 'rest' } as const

function breakdown(trials: readonly TrialResult[]): Chart | undefined {
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
        itemStyle: { color: stageColours[stage] },
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
      series: [
        {
          type: 'bar',
          itemStyle: { color: stageColours.computeMs },
          data: slowest.map(({ milliseconds }) => round(milliseconds)),
        },
      ],
    },
  }
}

/** What a chart is of: the network, and what else is not the same in all trials. */
function subjectOf(trials: readonly TrialResult[]): (trial: TrialResult) => string {
  const varies = (of: (trial: TrialResult) => unknown) => new Set(trials.map(of)).size > 1
  const dtypes = varies(({ dtype }) => dtype)
  const devices = varies(({ device }) => device)
  const lanes = varies((trial) => trial.lanes ?? 1)
  const inputs = varies((trial) => trial.images === undefined)
  return (trial) => {
    if (trial.http !== undefined) return trial.name.replace(/ connections .*/, '')
    return [
      trial.network.name,
      ...(dtypes ? [trial.dtype] : []),
      ...(devices ? [trial.device] : []),
      threadsText(trial.threads),
      ...(lanes ? [trial.lanes === undefined ? '1 lane' : `${trial.lanes} lanes`] : []),
      ...(inputs && trial.images !== undefined ? ['from images'] : []),
    ].join(', ')
  }
}

/** 0: of a GPU. */
export function threadsText(threads: number): string {
  if (threads === 0) return 'on a GPU'
  return threads === 1 ? '1 thread' : `${threads} threads`
}

function groupsOf(
  trials: readonly TrialResult[],
  name: (trial: TrialResult) => string,
): Map<string, TrialResult[]> {
  const groups = new Map<string, TrialResult[]>()
  for (const trial of trials) groups.set(name(trial), [...(groups.get(name(trial)) ?? []), trial])
  return groups
}

interface LineOptions {
  figure: Figure
  /** Where a driver has several lines. */
  named?: string
  dashed?: boolean
}

/** A line for every driver that ran. */
function linesOf(
  trials: readonly TrialResult[],
  x: (trial: TrialResult, rounds: readonly Measured[]) => number,
  { figure, named = '', dashed = false }: LineOptions,
): Line[] {
  const lines = new Map<string, Line>()
  for (const trial of trials) {
    for (const { driver, rounds } of trial.drivers) {
      if (rounds.length === 0) continue
      const line = lines.get(driver) ?? { driver, figure: named, dashed, points: [] }
      line.points.push([round(x(trial, rounds)), round(median(rounds.map(figures[figure].of)))])
      lines.set(driver, line)
    }
  }
  for (const { points } of lines.values()) points.sort(([a], [b]) => a - b)
  return [...lines.values()]
}

/** Pixels that one line of the legend takes. */
export const legendLine = 21

/** Readable on white and on black; a driver has its own in every chart. */
const colours = ['#3d7fe0', '#e8743b', '#1b9e77', '#c84fa8', '#8a6ff0', '#b8860b'] as const
const drivers: readonly string[] = ['resnet', ...peerNames]

/** None for who is no driver of this harness: the library picks. */
function colourOf(driver: string): { color?: string } {
  const index = drivers.indexOf(driver)
  return index < 0 ? {} : { color: colours[index % colours.length] as string }
}

export interface Axes {
  x: string
  y: string
  xScale: 'log' | 'value'
  yScale: 'log' | 'value'
}

export function lineChart(lines: readonly Line[], { x, y, xScale, yScale }: Axes): ChartOption {
  return {
    legend: { bottom: 0, left: 60, orient: 'vertical', itemGap: 6, itemWidth: 40 },
    grid: { left: 70, right: 40, top: 36, bottom: 60 + legendLine * lines.length },
    xAxis: {
      type: xScale,
      ...(xScale === 'log' ? { logBase: 2 } : { min: 0 }),
      name: x,
      nameLocation: 'middle',
      nameGap: 30,
    },
    yAxis: { type: yScale, name: y, ...(yScale === 'value' ? { min: 0 } : {}) },
    series: lines.map(({ driver, figure, dashed, points }) => ({
      type: 'line',
      name: figure === '' ? driver : `${driver}, ${figure}`,
      data: points,
      symbolSize: 7,
      symbol: dashed ? 'emptyCircle' : 'circle',
      itemStyle: colourOf(driver),
      lineStyle: { ...colourOf(driver), type: dashed ? 'dashed' : 'solid' },
    })),
  }
}

function round(value: number): number {
  return Number(value.toPrecision(4))
}

/** What whoever reads a table should know of its shares; undefined where nothing is strange. */
export function noteOn(rows: readonly Layer[]): string | undefined {
  if (!rows.some(({ bound = 0 }) => bound > 1)) return undefined
  return "More than 100 %: counted are a convolution's own multiplications, of which Winograd's algorithm does a part; and what caches hold is faster than a copy."
}
