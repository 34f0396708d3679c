// npm run bench [-- --only <regexp> --rounds 5 --seconds 3 --output <file> --report <file>
//                   --append, which adds the trials to those of the file: a machine is not always free for long
//                   --peers onnxruntime-node,transformers.js,torch,torch-compile,openvino | none --python <interpreter>]
//
// The harness of `resnet bench` over the trials of trials.mjs, beside the peers on the same weights. First our logits are
// compared with PyTorch's; then come the rounds, in which peers are compared with ours before they are timed; a missed
// bound or a wrong answer ends with status 1. Those of Node.js are installed; those of Python must be.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { rule } from '../scripts/formula.cjs'
import { ensureBuilt } from '../scripts/setup.mjs'
import { installPeers } from './peers.mjs'
import { resultFile } from './result-file.mjs'
import { bounds, networks, packages, trials } from './trials.mjs'

const require = createRequire(import.meta.url)
const here = path.dirname(fileURLToPath(import.meta.url))
const cache = path.join(here, '..', '.cache', 'bench')
const peers = path.join(cache, 'peers')

const { values: options } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    peers: { type: 'string', default: 'onnxruntime-node' },
    python: { type: 'string' },
    append: { type: 'boolean', default: false },
    output: { type: 'string' },
    report: { type: 'string' },
  },
})
const wanted = options.peers === 'none' ? [] : options.peers.split(',')

ensureBuilt()
installPeers(
  peers,
  wanted.flatMap((peer) => packages[peer] ?? []),
)
// They are compiled, which they may not have been until now.
const { nameOf, runTrials } = require('../dist/bench/run.js')
const { ratioOfMedians, median } = require('../dist/bench/statistics.js')
const { tableOf } = require('../dist/cli/bench-table.js')
const { requirePeers } = require('../dist/bench/peers.js')
const { readResults, withoutFolders, writeWhole } = require('../dist/bench/results.js')
const { report } = require('../dist/bench/report.js')
const { prepareNetwork } = await import('./prepare.mjs')

function withFiles(trial) {
  const { block: _, ...network } = networks[trial.network]
  const files = prepareNetwork(cache, trial.network, networks[trial.network])
  return { ...trial, network: { name: trial.network, ...network, ...files } }
}

/** 'resnet18 … batch 8: 0.1, bound 1e-4' per answer of ours that is not PyTorch's. */
function wrongAnswers(list) {
  const sized = list.filter(({ threads }) => threads === list[0].threads)
  return sized.flatMap((trial) => {
    const error = Number(
      execFileSync(process.execPath, [path.join(here, 'check.mjs'), JSON.stringify(trial)]),
    )
    console.log(`${nameOf(trial)}: logits ${error.toExponential(1)} from PyTorch's`)
    return error <= rule.bound ? [] : [`${nameOf(trial)}: ${error}, bound ${rule.bound}`]
  })
}

function print(trial) {
  console.log(tableOf(trial).trimEnd())
  const rates = ({ rounds }) => rounds.map(({ imagesPerSecond }) => imagesPerSecond)
  const [ours, ...others] = trial.drivers
  for (const peer of others.filter(({ error }) => error === undefined)) {
    console.log(`  ours is ${ratioText(ratioOfMedians(rates(peer), rates(ours)))} ${peer.driver}`)
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
const places = { folder: peers, python: options.python }
const otherPeers = await requirePeers(
  wanted,
  chosen.map(({ network }) => network),
  places,
)
const problems = wrongAnswers(chosen)
const measured = await runTrials({
  trials: chosen,
  drivers: ['resnet', ...wanted],
  rounds: Number(options.rounds),
  seconds: Number(options.seconds),
  peers,
  python: options.python,
  onTrial: print,
})
const results = withoutFolders({ ...measured, otherPeers })
problems.push(...missedBounds(results))
for (const { name, drivers: rows } of results.trials) {
  problems.push(
    ...rows.filter(({ error }) => error).map(({ driver, error }) => `${name}, ${driver}: ${error}`),
  )
}
const { machine, date } = results
if (machine.loadBefore > machine.available / 2) {
  console.log(
    `Load average ${machine.loadBefore.toFixed(1)} at the start: other programs ran, the figures suffer.`,
  )
}
const output = options.output ?? resultFile(date, machine)
mkdirSync(path.dirname(output), { recursive: true })
if (options.append && existsSync(output)) {
  const { trials: earlier } = await readResults(output)
  const names = new Set(results.trials.map(({ name }) => name))
  results.trials.unshift(...earlier.filter(({ name }) => !names.has(name)))
}
await writeWhole(output, `${JSON.stringify(results, null, 2)}\n`)
console.log(`\nWritten to ${path.relative(process.cwd(), output)}`)
if (options.report) await writeWhole(options.report, report(results))
if (problems.length > 0) {
  console.error(`\nMissed or failed:\n  ${problems.join('\n  ')}`)
  process.exit(1)
}
