import { noteOn, threadsText } from '../bench/charts.js'
import { type Figure, figures, figuresIn } from '../bench/compare.js'
import { median } from '../bench/statistics.js'
import type { DriverResult, LayerTable, Limit, TrialResult } from '../bench/types.js'

/** Columns of the table after the rate: their heads, figures and digits behind the point. */
const columns: readonly { head: string; figure: Figure; digits: number }[] = [
  { head: 'p50', figure: 'p50 ms', digits: 2 },
  { head: 'p90', figure: 'p90 ms', digits: 2 },
  { head: 'p99', figure: 'p99 ms', digits: 2 },
  { head: 'p99.9 ms', figure: 'p99.9 ms', digits: 2 },
  { head: 'loop ms', figure: 'event loop ms', digits: 2 },
  { head: 'CPU ms/image', figure: 'CPU ms/image', digits: 2 },
  { head: 'load ms', figure: 'load ms', digits: 0 },
  { head: 'peak MB', figure: 'peak MB', digits: 0 },
  { head: 'device MB', figure: 'device MB', digits: 1 },
  { head: 'by driver MB', figure: 'by driver MB', digits: 1 },
]
const driverWidth = 18
const rateWidth = 30

/** A trial with a line for every driver: medians of the rounds, of the rate also the lowest and highest. */
export function tableOf(trial: TrialResult): string {
  const { name, drivers, boundPerSecond } = trial
  const shown = figuresIn(drivers.flatMap(({ rounds }) => rounds))
  const table: Table = { columns: columns.filter(({ figure }) => shown.includes(figure)), boundPerSecond }
  const head =
    `  ${'driver'.padEnd(driverWidth)}${'images/s (lowest to highest)'.padEnd(rateWidth)}` +
    table.columns.map((column) => column.head.padStart(widthOf(column.head))).join('') +
    (boundPerSecond === undefined ? '' : '  of the bound')
  return `\n${name}\n${head}\n${drivers.map((row) => lineOf(row, table)).join('')}${stagesOf(trial)}`
}

interface Table {
  columns: typeof columns
  boundPerSecond: number | undefined
}

function widthOf(head: string): number {
  return Math.max(9, head.length + 2)
}

function lineOf({ driver, rounds, error }: DriverResult, { columns, boundPerSecond }: Table): string {
  const start = `  ${driver.padEnd(driverWidth)}`
  if (error !== undefined) return `${start}did not run: ${error.split('\n').at(-1)}\n`
  const rates = rounds.map(({ imagesPerSecond }) => imagesPerSecond)
  const rate = `${median(rates).toFixed(1)} (${Math.min(...rates).toFixed(1)} to ${Math.max(...rates).toFixed(1)})`
  const cells = columns.map(({ head, figure, digits }) => {
    const value = median(rounds.map(figures[figure].of))
    return (Number.isFinite(value) ? value.toFixed(digits) : '-').padStart(widthOf(head))
  })
  const share =
    boundPerSecond === undefined ? '' : `${Math.round((median(rates) / boundPerSecond) * 100)} %`.padStart(14)
  return `${start}${rate.padEnd(rateWidth)}${cells.join('')}${share}${notesOf(rounds)}\n`
}

function notesOf(rounds: DriverResult['rounds']): string {
  const unsteady = rounds.filter(({ steady }) => steady === false).length
  const refused = rounds.reduce((sum, round) => sum + (round.refused ?? 0), 0)
  return (
    (unsteady === 0 ? '' : `  (not steady after warming up in ${unsteady} of ${rounds.length})`) +
    (refused === 0 ? '' : `  (${refused} refused)`)
  )
}

/** Where images spent their time, where that is more than the run of a batch. */
function stagesOf({ drivers, load, images }: TrialResult): string {
  if (load.kind === 'closed' && images === undefined) return ''
  return drivers
    .map(({ driver, rounds }) => {
      const known = rounds.flatMap(({ stages }) => stages ?? [])
      if (known.length === 0) return ''
      const of = (stage: keyof (typeof known)[number]) =>
        median(known.map((stages) => stages[stage])).toFixed(2)
      return (
        `  ${driver}, of an image: queue ${of('queueMs')} ms, decode ${of('decodeMs')} ms, compute ${of('computeMs')} ms, ` +
        `rest ${of('restMs')} ms; ${of('meanBatch')} images a batch\n`
      )
    })
    .join('')
}

/** Of this machine's processor, and of each GPU with where its figures come from. */
export function limitsText(limits: readonly Limit[]): string {
  const owners = new Map<string, Limit[]>()
  for (const limit of limits) {
    const { gpu } = limit
    const owner = gpu === undefined ? 'this machine' : `${gpu.device}, ${gpu.name}; ${gpu.source}`
    owners.set(owner, [...(owners.get(owner) ?? []), limit])
  }
  return [...owners].map(([owner, rows]) => `Limits of ${owner}\n${rows.map(limitText).join('')}`).join('')
}

function limitText({ name, value, unit, threads, gpu }: Limit): string {
  // JSON has null for what is not known.
  const rate = Number.isFinite(value) ? value.toFixed(1) : '-'
  const figure = `  ${name.padEnd(34)} ${rate.padStart(9)} ${unit}`
  return gpu === undefined ? `${figure}, ${threadsText(threads)}\n` : `${figure}\n`
}

export function layersText(name: string, { rows }: LayerTable): string {
  const lines = rows.map(
    ({ step, implementation, milliseconds, gflops, bound }) =>
      `  ${step.padEnd(28)} ${implementation.padEnd(18)} ${(milliseconds > 0 ? milliseconds.toFixed(3) : '-').padStart(9)} ms ` +
      `${(Number.isFinite(gflops) ? gflops.toFixed(1) : '-').padStart(8)} GFLOP/s${bound === undefined ? '' : `  ${Math.round(bound * 100)} % of the bound`}\n`,
  )
  const note = noteOn(rows)
  return `\nSteps of ${name}\n${lines.join('')}${note === undefined ? '' : `  ${note}\n`}`
}
