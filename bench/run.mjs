// npm run bench [-- --only <regexp> --rounds 5 --seconds 3 --no-peers --output <file> --report <file>]
//
// The harness of `resnet bench` over the trials of trials.mjs, beside the peers on the same weights. First every driver's
// logits are compared with PyTorch's; then come the rounds; a missed bound or a wrong answer ends with status 1.
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { rule } from '../scripts/formula.cjs'
import { ensureBuilt } from '../scripts/setup.mjs'
import { installPeers } from './peers.mjs'
import { resultFile } from './result-file.mjs'
import { bounds, drivers, networks, trials } from './trials.mjs'

const require = createRequire(import.meta.url)
const here = path.dirname(fileURLToPath(import.meta.url))
const cache = path.join(here, '..', '.cache', 'bench')
const peers = path.join(cache, 'peers')

const { values: options } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    'no-peers': { type: 'boolean', default: false },
    output: { type: 'string' },
    report: { type: 'string' },
  },
})
const used = options['no-peers'] ? drivers.slice(0, 1) : drivers

ensureBuilt()
installPeers(
  peers,
  used.flatMap((driver) => driver.package ?? []),
)
// They are compiled, which they may not have been until now.
const { nameOf, runTrials } = require('../dist/bench/run.js')
const { ratioOfMedians, median } = require('../dist/bench/statistics.js')
const { writeWhole } = require('../dist/bench/results.js')
const { report } = require('../dist/bench/report.js')
const { prepareNetwork } = await import('./prepare.mjs')

function withFiles(trial) {
  const { block: _, ...network } = networks[trial.network]
  const files = prepareNetwork(cache, trial.network, networks[trial.network])
  return { ...trial, network: { name: trial.network, ...network, ...files } }
}

/** 'resnet18 … batch 8, resnet' per answer that is not PyTorch's. */
function wrongAnswers(list) {
  const sized = list.filter(({ threads }) => threads === list[0].threads)
  return sized.flatMap((trial) =>
    used.flatMap(({ name: driver }) => {
      const call = JSON.stringify({ trial, driver, peers })
      const error = Number(execFileSync(process.execPath, [path.join(here, 'check.mjs'), call]))
      console.log(`${nameOf(trial)}, ${driver}: logits ${error.toExponential(1)} from PyTorch's`)
      return error <= rule.bound ? [] : [`${nameOf(trial)}, ${driver}: ${error}, bound ${rule.bound}`]
    }),
  )
}

function print({ name, drivers: rows }) {
  console.log(`\n${name}`)
  const rates = ({ rounds }) => rounds.map(({ imagesPerSecond }) => imagesPerSecond)
  for (const row of rows) {
    if (row.error !== undefined) {
      console.log(`  ${row.driver.padEnd(18)} did not run: ${row.error.split('\n').at(-1)}`)
      continue
    }
    const list = rates(row)
    const spread = `${Math.min(...list).toFixed(1)} to ${Math.max(...list).toFixed(1)}`
    const ours = row === rows[0] ? '' : `, ours is ${ratioText(ratioOfMedians(list, rates(rows[0])))}`
    const { loadMs, loadPeakMb, eventLoopP99Ms } = row.rounds[0]
    console.log(
      `  ${row.driver.padEnd(18)} ${median(list).toFixed(1)} images/s (${spread})${ours}; event loop ` +
        `${eventLoopP99Ms.toFixed(2)} ms, load ${loadMs.toFixed(0)} ms, ${loadPeakMb.toFixed(0)} MB`,
    )
  }
}

const ratioText = ({ ratio, low, high }) => `${ratio.toFixed(2)} x (${low.toFixed(2)} to ${high.toFixed(2)})`

function missedBounds({ trials: list }) {
  return list
    .filter(({ batch }) => batch === 1)
    .flatMap(({ name, drivers: [ours] }) =>
      bounds.flatMap(({ of, most, what }) => {
        const value = median(ours.rounds.map(of))
        return value <= most ? [] : [`${name}: ${value.toFixed(1)} ${what}, at most ${most}`]
      }),
    )
}

const chosen = trials.map(withFiles).filter((trial) => new RegExp(options.only).test(nameOf(trial)))
if (chosen.length === 0) {
  console.error(`no trial matches /${options.only}/`)
  process.exit(2)
}
const problems = wrongAnswers(chosen)
const results = await runTrials({
  trials: chosen,
  drivers: used.map(({ name }) => name),
  rounds: Number(options.rounds),
  seconds: Number(options.seconds),
  peers,
  onTrial: print,
})
problems.push(...missedBounds(results))
for (const { name, drivers: rows } of results.trials) {
  problems.push(
    ...rows.filter(({ error }) => error).map(({ driver, error }) => `${name}, ${driver}: ${error}`),
  )
}
// A result names no folder of the machine that it was measured on.
for (const { network } of results.trials) {
  for (const key of ['checkpoint', 'onnx']) network[key] = path.basename(network[key])
}
const { machine, date } = results
if (machine.loadBefore > machine.available / 2) {
  console.log(
    `Load average ${machine.loadBefore.toFixed(1)} at the start: other programs ran, the figures suffer.`,
  )
}
const output = options.output ?? resultFile(date, machine)
mkdirSync(path.dirname(output), { recursive: true })
await writeWhole(output, `${JSON.stringify(results, null, 2)}\n`)
console.log(`\nWritten to ${path.relative(process.cwd(), output)}`)
if (options.report) await writeWhole(options.report, report(results))
if (problems.length > 0) {
  console.error(`\nMissed or failed:\n  ${problems.join('\n  ')}`)
  process.exit(1)
}
