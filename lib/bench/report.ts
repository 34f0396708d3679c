import { createRequire } from 'node:module'
import path from 'node:path'
import { ResNetError } from '../errors.js'
import { type Chart, chartsOf, legendLine, noteOn, threadsText } from './charts.js'
import { figures, figuresIn } from './compare.js'
import { median } from './statistics.js'
import type { Machine, Results, TrialResult } from './types.js'

/** What of echarts is used here. */
export interface ECharts {
  init(element: null, theme: string | undefined, options: object): Drawing
}
interface Drawing {
  setOption(option: object): void
  renderToSVGString(): string
  dispose(): void
}

const width = 960
const height = 420
/** Of a chart of bars, without them and for each. */
const barsHeight = 90
const barHeight = 34

/**
 * One HTML file that needs nothing else: charts as SVG, for light and dark, and every number in tables.
 * @throws ERR_RESNET_UNAVAILABLE when echarts, which draws, is not installed.
 */
export function report(results: Results): string {
  const { machine, date, rounds, seconds } = results
  const echarts = loadECharts()
  const versions = [
    ...new Set(
      results.trials.flatMap(({ drivers }) =>
        drivers.filter(({ version }) => version !== '').map(({ driver, version }) => `${driver} ${version}`),
      ),
    ),
  ].join(', ')
  const others = Object.entries(results.otherPeers ?? {})
    .map(([name, version]) => `${name} (${version})`)
    .join(', ')
  const charts = chartsOf(results).map((chart) => figure(echarts, chart))
  const facts: [string, string][] = [
    ['processor', `${machine.cpu}, ${machine.available} of ${machine.cpus} CPUs available, ${machine.isa}`],
    ['memory', `${machine.memoryGb} GB`],
    ['system', `${machine.platform}, kernel ${machine.kernel}, Node.js ${machine.node}`],
    ['clock', clockOf(machine)],
    ...(machine.gpus ?? []).map(
      ({ name, driver, clockMhz, maxClockMhz, memoryMb, powerLimitWatts }): [string, string] => [
        'GPU',
        `${name}, driver ${driver}, ${memoryMb} MB, ${clockMhz} MHz of at most ${maxClockMhz} when it began, ${powerLimitWatts} W`,
      ],
    ),
    [
      'measured',
      `${date}; ${rounds === 1 ? '1 round' : `${rounds} rounds`} of ${seconds} s, each in a process of its own, drivers interleaved`,
    ],
    ['load before', `${machine.loadBefore.toFixed(2)} runnable processes`],
    ...(versions === '' ? [] : [['drivers', versions] as [string, string]]),
    ...(others === '' ? [] : [['not asked for', others] as [string, string]]),
  ]
  return page({
    title: `resnet bench: ${machine.cpu}`,
    heading: 'resnet bench',
    facts,
    body: `${charts.join('\n')}
<h2>All figures</h2>
<p>Medians of the rounds, lowest and highest below them; – where it cannot be read.</p>
${trialTable(results.trials)}
${limitTable(results)}
${layerTables(results)}`,
  })
}

export interface Page {
  title: string
  heading: string
  /** The table at the top: name and text. */
  facts: readonly [string, string][]
  /** HTML. */
  body: string
}

/** One HTML file that needs nothing else. */
export function page({ title, heading, facts, body }: Page): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title>
<style>${style}</style>
<main>
<h1>${escaped(heading)}</h1>
<table class="facts">${facts.map(([name, value]) => `<tr><th>${name}</th><td>${escaped(value)}</td></tr>`).join('')}</table>
${body}
</main>
</html>
`
}

function clockOf({ clockMhz, maxClockMhz, boost, governor }: Machine): string {
  const parts = [
    clockMhz === undefined ? 'not readable' : `${Math.round(clockMhz)} MHz when it began`,
    ...(maxClockMhz === undefined ? [] : [`at most ${Math.round(maxClockMhz)} MHz`]),
    ...(boost === undefined ? [] : [boost ? 'boost on' : 'boost off']),
    ...(governor === undefined ? [] : [`governor ${governor}`]),
  ]
  return parts.join(', ')
}

/** @throws ERR_RESNET_UNAVAILABLE when it is not installed. */
export function loadECharts(): ECharts {
  // From the project of the caller first: it is no dependency of this package.
  for (const from of [path.join(process.cwd(), 'package.json'), __filename]) {
    try {
      return createRequire(from)('echarts') as ECharts
    } catch {
      // The next place; what is found nowhere is the error below.
    }
  }
  throw new ResNetError(
    'ERR_RESNET_UNAVAILABLE',
    'bench: the report is drawn by echarts, which is not installed; npm install echarts, then resnet bench report again',
  )
}

/** A chart as HTML, for light and dark. */
export function figure(echarts: ECharts, { title, caption, option, legend, rows }: Chart): string {
  const drawn = (['light', 'dark'] as const).map((scheme) => {
    const theme = scheme === 'dark' ? 'dark' : undefined
    const chart = echarts.init(null, theme, {
      renderer: 'svg',
      ssr: true,
      width,
      height: (rows === undefined ? height : barsHeight + rows * barHeight) + legend * legendLine,
    })
    chart.setOption({ ...option, backgroundColor: 'transparent', animation: false })
    const svg = chart.renderToSVGString()
    chart.dispose()
    return `<div class="${scheme}" role="img" aria-label="${escaped(title)}">${svg}</div>`
  })
  return `<h2>${escaped(title)}</h2>\n<figure>${drawn.join('')}<figcaption>${escaped(caption)}</figcaption></figure>`
}

/** A group of rows for every trial, a row for every driver. */
function trialTable(trials: readonly TrialResult[]): string {
  const names = figuresIn(trials.flatMap(({ drivers }) => drivers.flatMap(({ rounds }) => rounds)))
  const bounds = trials.some(({ boundPerSecond }) => boundPerSecond !== undefined)
  const titles = ['', ...names, ...(bounds ? ['of the bound'] : [])]
  const head = titles.map((title) => `<th class="number">${title}</th>`).join('')
  const rows = trials.flatMap(({ name, drivers, boundPerSecond }) => [
    `<tr class="group"><th colspan="${titles.length}">${escaped(name)}</th></tr>`,
    ...drivers.map(({ driver, rounds, error }) => {
      const unsteady = rounds.filter(({ steady }) => steady === false).length
      const note = unsteady === 0 ? '' : `<small>not steady in ${unsteady} of ${rounds.length}</small>`
      const cells =
        error === undefined
          ? [
              ...names.map((figure) => cell(rounds.map(figures[figure].of))),
              ...(bounds ? [share(rates(rounds), boundPerSecond)] : []),
            ].join('')
          : `<td colspan="${titles.length - 1}">did not run: ${escaped(error.split('\n').at(-1) ?? '')}</td>`
      return `<tr><td class="driver">${escaped(driver)}${note}</td>${cells}</tr>`
    }),
  ])
  return `<div class="wide"><table><tr>${head}</tr>${rows.join('')}</table></div>`
}

function share(rate: number, bound: number | undefined): string {
  return `<td class="number">${bound === undefined ? '' : `${Math.round((rate / bound) * 100)} %`}</td>`
}

function rates(rounds: TrialResult['drivers'][number]['rounds']): number {
  return median(rounds.map(({ imagesPerSecond }) => imagesPerSecond))
}

function cell(values: readonly number[]): string {
  if (!values.every(Number.isFinite)) return '<td class="number">–</td>'
  const spread = `${number(Math.min(...values))}–${number(Math.max(...values))}`
  return `<td class="number">${number(median(values))}<small>${spread}</small></td>`
}

function limitTable({ limits = [] }: Results): string {
  if (limits.length === 0) return ''
  const rows = limits.map(
    ({ name, value, unit, threads, gpu }) =>
      `<tr><td>${escaped(name)}</td><td>${escaped(gpu === undefined ? threadsText(threads) : `${gpu.device}, ${gpu.name}`)}</td>` +
      `<td class="number">${number(value)}</td><td>${escaped(unit)}</td></tr>`,
  )
  const sources = new Set(
    limits.flatMap(({ gpu }) => (gpu === undefined ? [] : `${gpu.name}: ${gpu.source}.`)),
  )
  return (
    `<h2>Limits of this machine</h2><table><tr><th>what</th><th>of</th><th>rate</th><th></th></tr>${rows.join('')}</table>` +
    [...sources].map((source) => `<p>${escaped(source)}</p>`).join('')
  )
}

function layerTables({ layers = [] }: Results): string {
  return layers
    .map(({ network, batch, threads, rows }) => {
      const body = rows.map(
        ({ step, implementation, milliseconds, gflops, gigabytesPerSecond, bound }) =>
          `<tr><td>${escaped(step)}</td><td>${escaped(implementation)}</td>` +
          [milliseconds, gflops, gigabytesPerSecond]
            .map((value) => `<td class="number">${number(value)}</td>`)
            .join('') +
          `<td class="number">${bound === undefined ? '' : `${Math.round(bound * 100)} %`}</td></tr>`,
      )
      const note = noteOn(rows)
      return (
        `<h2>Steps of ${escaped(network)}, batch ${batch}, ${threadsText(threads)}</h2><div class="wide"><table><tr><th>step</th>` +
        `<th>kernel</th><th>ms</th><th>GFLOP/s</th><th>GB/s</th><th>of the bound</th></tr>${body.join('')}</table></div>` +
        (note === undefined ? '' : `<p>${escaped(note)}</p>`)
      )
    })
    .join('\n')
}

export function number(value: number): string {
  if (!Number.isFinite(value)) return '–'
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en-US')
  return String(Number(value.toPrecision(3)))
}

export function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (found) => `&#${found.charCodeAt(0)};`)
}

const style = `
:root { color-scheme: light dark; --text: #1c1e21; --soft: #5b6068; --line: #d9dce1; --ground: #fff }
@media (prefers-color-scheme: dark) { :root { --text: #e6e8eb; --soft: #9aa1ab; --line: #3a3f47; --ground: #17191c } }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--ground) }
main { max-width: 1000px; margin: 0 auto; padding: 24px 20px 60px }
h1 { font-size: 24px } h2 { font-size: 18px; margin-top: 40px }
figure { margin: 0 } figcaption, small { color: var(--soft) }
svg { max-width: 100%; height: auto }
.dark { display: none }
@media (prefers-color-scheme: dark) { .dark { display: block } .light { display: none } }
small { display: block; white-space: nowrap }
.wide { overflow-x: auto }
.group th { padding-top: 18px }
.driver { padding-left: 12px; white-space: nowrap }
table { border-collapse: collapse; font-size: 13px }
th, td { text-align: left; padding: 4px 10px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
`
