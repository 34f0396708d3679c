// npm run bench [-- --only <regexp> --rounds 5 --seconds 3 --no-peers --output <file>]
//
// Every trial of trials.mjs in every driver, interleaved round by round (the order turns about), each in a process of
// its own. The logits of all drivers are compared in the run, with each other and with PyTorch's. Medians over rounds;
// ratio above 1: ours is better.
import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { networkFixtures, rule, sampledError } from '../scripts/formula.cjs'
import { ensureBuilt } from '../scripts/setup.mjs'
import { describeMachine } from './machine.mjs'
import { installPeers } from './peers.mjs'
import { drivers, networks, trials } from './trials.mjs'

const execute = promisify(execFile)
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
  },
})
const rounds = Number(options.rounds)
const seconds = Number(options.seconds)
const chosen = trials.filter(({ name }) => new RegExp(options.only).test(name))
const used = options['no-peers'] ? drivers.slice(0, 1) : drivers

const median = (list) => {
  const sorted = [...list].sort((a, b) => a - b)
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2
}

/** One child process. What cannot run says so in the results. */
async function runOnce(call) {
  try {
    const child = path.join(here, 'trial.mjs')
    const { stdout } = await execute(process.execPath, [child, JSON.stringify(call)], { maxBuffer: 2 ** 26 })
    return JSON.parse(stdout.trim().split('\n').at(-1))
  } catch (error) {
    return {
      error: String(error.stderr || error.message)
        .trim()
        .slice(-2000),
    }
  }
}

function decode(answer) {
  const bytes = Buffer.from(answer, 'base64')
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
}

/** Relative distance of two answers; NaN anywhere gives NaN. */
function distance(ours, theirs) {
  const worst = ours.reduce((sum, value, i) => {
    return Math.max(sum, Math.abs(value - theirs[i]))
  }, 0)
  return worst / theirs.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0)
}

function errorAgainstPyTorch(trial, answer) {
  const { height, width } = networks[trial.network]
  const row = fixtures.find((fixture) => fixture.name === `${trial.network} ${height}x${width}`)
  return sampledError(
    row.tensors.find(({ name }) => name === 'logits'),
    answer,
    trial.batch,
  )
}

function summarise(trial, figure, name, results) {
  const good = results.filter(({ error }) => !error)
  if (good.length < results.length) return { driver: name, error: results.find(({ error }) => error).error }
  const figures = good.map((result) => figure.of(result, trial))
  const answer = decode(good[0].answer)
  const { version, settings } = good[0]
  return {
    driver: name,
    version,
    settings,
    figure: median(figures),
    lowest: Math.min(...figures),
    highest: Math.max(...figures),
    errorAgainstPyTorch: errorAgainstPyTorch(trial, answer),
    answer,
    rounds: good.map(({ answer: _, version: __, settings: ___, ...measured }) => measured),
  }
}

function withRatios(rows, figure) {
  const [ours, ...others] = rows
  for (const other of others) {
    if (ours.error || other.error) continue
    other.ratioOfOurs = figure.better === 'higher' ? ours.figure / other.figure : other.figure / ours.figure
    other.distanceOfAnswers = distance(ours.answer, other.answer)
  }
  return rows.map(({ answer: _, ...row }) => row)
}

/** Bounds of a trial that our median misses. */
function missedBounds(trial, [ours]) {
  if (ours.error) return []
  return Object.entries(trial.bound ?? {}).flatMap(([key, limit]) => {
    const value = median(ours.rounds.map((round) => round[key]))
    return value <= limit ? [] : [`${key} is ${value.toFixed(1)}, expected at most ${limit}`]
  })
}

function print(trial, figure, rows, missed) {
  console.log(`\n${trial.name}`)
  for (const row of rows) {
    if (row.error) {
      console.log(`  ${row.driver.padEnd(18)} did not run: ${row.error.split('\n').at(-1)}`)
      continue
    }
    const spread = `${row.lowest.toFixed(2)} to ${row.highest.toFixed(2)}`
    const ratio = row.ratioOfOurs ? `  ours is ${row.ratioOfOurs.toFixed(2)} x` : ''
    const memory = row.rounds[0].peakMb
      ? `  peak ${median(row.rounds.map((round) => round.peakMb)).toFixed(0)} MB`
      : ''
    const error = `  error ${row.errorAgainstPyTorch.toExponential(1)}`
    console.log(
      `  ${row.driver.padEnd(18)} ${row.figure.toFixed(2)} ${figure.unit} (${spread})${memory}${error}${ratio}`,
    )
  }
  for (const sentence of missed) console.log(`  MISSED: ${sentence}`)
}

function printProgram({ gflopPerImage, isa, kernels }, { figure }) {
  const list = Object.entries(kernels).map(([name, count]) => `${count} ${name}`)
  console.log(
    `  ${isa}, ${(gflopPerImage * figure).toFixed(0)} GFLOP/s of the plan's arithmetic; ${list.join(', ')}`,
  )
}

async function runTrial(trial) {
  const { figure } = await import(`./kinds/${trial.kind}.mjs`)
  const network = networks[trial.network]
  const files = prepareNetwork(cache, trial.network, network)
  for (const file of Object.values(files)) readFileSync(file)
  const results = new Map(used.map(({ name }) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const driver of round % 2 === 0 ? used : [...used].reverse()) {
      results.get(driver.name).push(await runOnce({ trial, driver, files, network, seconds, peers }))
    }
  }
  const summaries = used.map(({ name }) => summarise(trial, figure, name, results.get(name)))
  const rows = withRatios(summaries, figure)
  const missed = missedBounds(trial, rows)
  const program = await explainTrial(trial, network)
  print(trial, figure, rows, missed)
  if (trial.kind === 'throughput' && !rows[0].error) printProgram(program, rows[0])
  return { ...trial, unit: figure.unit, missed, program, drivers: rows }
}

function writeResults(machine, rows) {
  const slug = machine.cpu
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
  const file =
    options.output ?? path.join(here, 'results', `${new Date().toISOString().slice(0, 10)}-${slug}.json`)
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(
    file,
    `${JSON.stringify({ date: new Date().toISOString(), machine, rounds, seconds, trials: rows }, null, 2)}\n`,
  )
  console.log(`\nWritten to ${path.relative(process.cwd(), file)}`)
}

if (chosen.length === 0) {
  console.error(
    `no trial matches /${options.only}/; there are:\n  ${trials.map(({ name }) => name).join('\n  ')}`,
  )
  process.exit(2)
}
ensureBuilt()
const fixtures = networkFixtures().rows
const packages = await Promise.all(
  used.map(async ({ module }) => (await import(`./drivers/${module}.mjs`)).npmPackage),
)
installPeers(peers, packages.filter(Boolean))
const machine = describeMachine()
console.log(`${machine.cpu}, ${machine.available} CPUs available, Node ${machine.node}; ${rounds} rounds`)
if (machine.loadBefore > machine.available / 2) {
  console.log(
    `Load average ${machine.loadBefore.toFixed(1)}: other programs are running, the figures will suffer.`,
  )
}
const rows = []
// It writes files from the compiled library, which may have been missing until now.
const { prepareNetwork } = await import('./prepare.mjs')
const { explainTrial } = await import('./explain.mjs')
for (const trial of chosen) rows.push(await runTrial(trial))
writeResults(machine, rows)
const wrong = rows.flatMap(({ name, drivers: list }) =>
  list
    .filter((row) => row.error || !(row.errorAgainstPyTorch <= rule.bound))
    .map((row) => `${name}, ${row.driver}`),
)
if (wrong.length > 0) {
  console.error(`failed or outside ${rule.bound} of PyTorch: ${wrong.join('; ')}`)
  process.exit(1)
}
