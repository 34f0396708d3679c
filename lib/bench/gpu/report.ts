/** The results of gpu-check as one HTML file: charts, and every number in tables. */
import { type Chart, type Line, lineChart } from '../charts.js'
import { escaped, figure, loadECharts, number, page } from '../report.js'
import { median } from '../statistics.js'
import { type GpuLayers, type GpuResults, problemsOf, type Speed } from './results.js'

/** The charts that the results have data for. */
export function gpuCharts({ speed, ceilings, layers }: GpuResults): Chart[] {
  const groups = [...new Set(speed.map(({ network, dtype }) => `${network} ${dtype}`))]
  const charts = groups.map((group): Chart => {
    const rows = speed.filter((row) => `${row.network} ${row.dtype}` === group)
    const lines = linesOf(rows)
    return {
      title: `Throughput: ${group}`,
      caption:
        'Images a second, medians of the rounds, which alternate between the drivers. Higher is better.',
      legend: lines.length,
      option: lineChart(lines, { x: 'images a batch', y: 'images/s', xScale: 'log', yScale: 'value' }),
    }
  })
  const second = ceilings.flatMap(({ name, value }): [number, number][] => {
    const megabytes = /^L2 read (\d+) MiB$/.exec(name)?.[1]
    return megabytes === undefined ? [] : [[Number(megabytes), value]]
  })
  if (second.length > 1) {
    const lines = [{ driver: 'read', figure: '', dashed: false, points: second }]
    charts.push({
      title: 'L2 by footprint',
      caption: 'GB a second read past L1 when all multiprocessors read the same megabytes again and again.',
      legend: 1,
      option: lineChart(lines, { x: 'MiB', y: 'GB/s', xScale: 'value', yScale: 'value' }),
    })
  }
  return [...charts, ...layers.map(layerChart)]
}

function linesOf(rows: readonly Speed[]): Line[] {
  const lines = new Map<string, Line>()
  for (const { driver, memory, batch, rounds } of rows) {
    const figure = `${memory} memory`
    const name = `${driver}, ${figure}`
    const line = lines.get(name) ?? { driver, figure, dashed: memory === 'host', points: [] }
    line.points.push([batch, Number(median(rounds).toPrecision(4))])
    lines.set(name, line)
  }
  for (const { points } of lines.values()) points.sort(([a], [b]) => a - b)
  return [...lines.values()]
}

function layerChart({ network, dtype, batch, rows }: GpuLayers): Chart {
  const timed = rows.filter(({ milliseconds }) => milliseconds > 0).reverse()
  const least = timed.map(({ milliseconds, share = 0 }) => Number((milliseconds * share).toPrecision(4)))
  return {
    title: `Layers of ${network} ${dtype}, batch ${batch}`,
    caption:
      'Milliseconds of each convolution, and the least that its bytes and arithmetic need on this card.',
    legend: 2,
    option: {
      legend: { bottom: 0 },
      grid: { left: 160, right: 40, top: 20, bottom: 90 },
      xAxis: { type: 'value', name: 'ms', nameLocation: 'middle', nameGap: 30 },
      yAxis: {
        type: 'category',
        data: timed.map(({ step }) => step),
        axisLabel: { fontSize: 8, interval: 0 },
      },
      series: [
        { type: 'bar', name: 'taken', data: timed.map(({ milliseconds }) => milliseconds) },
        { type: 'bar', name: 'least', barGap: '-100%', data: least },
      ],
    },
  }
}

/** @throws ERR_RESNET_UNAVAILABLE when echarts, which draws, is not installed. */
export function gpuReport(results: GpuResults): string {
  const echarts = loadECharts()
  const { card, date, mode } = results
  const facts: [string, string][] = [
    ['card', String(card.name)],
    ['measured', `${date}, ${mode === 'quick' ? 'quick' : 'in full'}, resnet ${results.package}`],
    ['driver and versions', JSON.stringify({ ...(card.nvidiaSmi as object), ...(card.host as object) })],
  ]
  const problems = problemsOf(results)
  return page({
    title: `resnet on ${card.name}`,
    heading: `resnet on ${card.name}`,
    facts,
    body: [
      ...gpuCharts(results).map((chart) => figure(echarts, chart)),
      problems.length === 0
        ? ''
        : `<h2>Missed or failed</h2><ul>${problems.map((line) => `<li>${escaped(line)}</li>`).join('')}</ul>`,
      table(
        'Speed',
        ['network', 'dtype', 'batch', 'driver', 'memory', 'images/s', 'of the roofline'],
        speedRows(results),
      ),
      table(
        'Ceilings',
        ['what', 'rate', '', 'how'],
        results.ceilings.map(({ name, value, unit, detail = '' }) => [name, number(value), unit, detail]),
      ),
      table(
        'Figures',
        ['what', 'value', '', 'at most'],
        results.figures.map(({ name, value, unit, most }) => [name, number(value), unit, most ?? '']),
      ),
      table(
        'Answers',
        ['suite', 'case', 'error', 'bound', "PyTorch's own", 'against a wrong answer'],
        results.accuracy.map(({ suite, case: name, error, bound, peerError, controlError }) => {
          return [suite, name, number(error), number(bound), optional(peerError), optional(controlError)]
        }),
      ),
      table(
        'Checks',
        ['check', '', 'what was seen'],
        results.checks.map(({ name, good, detail }) => [name, good ? 'holds' : 'FAILED', detail]),
      ),
      ...results.layers.map(({ network, dtype, batch, rows }) =>
        table(
          `Layers of ${network} ${dtype}, batch ${batch}`,
          ['step', 'engine', 'ms', 'MB', 'GFLOP', 'limit', 'of its bound'],
          rows.map(({ step, implementation, milliseconds, bytes, flop, limit, share }) => [
            step,
            implementation,
            milliseconds > 0 ? number(milliseconds) : 'not timed alone',
            number(bytes / 1e6),
            number(flop / 1e9),
            limit,
            percent(share),
          ]),
        ),
      ),
      table(
        'Steps',
        ['step', '', 's', 'why'],
        results.steps.map(({ step, status, seconds, reason = '' }) => [
          step,
          status,
          number(seconds),
          reason,
        ]),
      ),
    ].join('\n'),
  })
}

const optional = (value: number | undefined) => (value === undefined ? '' : number(value))
const percent = (share: number | undefined) => (share === undefined ? '' : `${Math.round(share * 100)} %`)

function speedRows({ speed }: GpuResults): (string | number)[][] {
  return speed.map(({ network, dtype, batch, driver, memory, rounds, share }) => {
    const spread = `${number(median(rounds))} (${number(Math.min(...rounds))}–${number(Math.max(...rounds))})`
    return [network, dtype, batch, driver, memory, spread, percent(share)]
  })
}

function table(
  title: string,
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): string {
  if (rows.length === 0) return ''
  const cells = (row: readonly (string | number)[], tag: string) =>
    `<tr>${row.map((cell) => `<${tag}>${escaped(String(cell))}</${tag}>`).join('')}</tr>`
  const body = rows.map((row) => cells(row, 'td')).join('')
  return `<h2>${escaped(title)}</h2><div class="wide"><table>${cells(head, 'th')}${body}</table></div>`
}
