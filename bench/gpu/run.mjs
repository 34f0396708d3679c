// scripts/gpu-check once it has found Node and Python: runs the steps of lib/bench/gpu/steps.ts, each in a child of its own
// with its share of the budget, and keeps what they report. Whatever a child prints on a line of its own as JSON with a `kind`
// is a finding; all else goes to the log.
import { spawn } from 'node:child_process'
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { binaryOf, childEnvironment, python } from './environment.mjs'
import { seenBetween, startMonitor } from './monitor.mjs'

const require = createRequire(import.meta.url)
const { Budget, budgets } = require('../../dist/bench/gpu/budget.js')
const { phases, selectSteps, stepsOf } = require('../../dist/bench/gpu/steps.js')
const { appendLine, completed, mendFile, readLines } = require('../../dist/bench/gpu/state.js')
const { median } = require('../../dist/bench/statistics.js')
const { assemble, countsOf, problemsOf, summaryOf } = require('../../dist/bench/gpu/results.js')

/** A step ends with it where the machine lacks what it needs; step.mjs. */
const unavailableStatus = 69
const here = path.dirname(fileURLToPath(import.meta.url))
const root = path.join(here, '..', '..')
/** Of a step's time, kept for ending it: what it has started may outlive it, and a call that hangs in a driver a kill. */
const graceSeconds = 2

const usage = `scripts/gpu-check [--quick | --dry-run] [--phase NAME,… | --from NAME] [--resume FILE] [--out FOLDER] [--budget SECONDS]

  --quick       the card, its ceilings, two networks' answers and ResNet-50's speed: two minutes
  --dry-run     rehearse without a GPU, over a simulated device; nothing of it is a result
  --phase       only these phases or steps (${Object.keys(phases).join(', ')}; --list names the steps)
  --from        this phase or step and all that follow
  --resume      go on from an earlier run's state.jsonl: what it completed is not run again. Without a file: the one in --out
  --out         where results are written; default $OUT, else .cache/gpu-check
  --budget      seconds for all of it (default ${budgets.full}; --quick ${budgets.quick}); what does not fit is not run, and named
  --list        names phases and steps with their shares of it, and ends`

class Usage extends Error {}

function readArguments() {
  try {
    const { values } = parseArgs({
      options: {
        quick: { type: 'boolean', default: false },
        'dry-run': { type: 'boolean', default: false },
        phase: { type: 'string', multiple: true, default: [] },
        from: { type: 'string' },
        resume: { type: 'boolean', default: false },
        state: { type: 'string' },
        out: { type: 'string' },
        budget: { type: 'string' },
        list: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
      args: joinedResume(process.argv.slice(2)),
    })
    if (values.quick && values['dry-run']) throw new Usage('--quick and --dry-run exclude each other')
    const mode = values['dry-run'] ? 'dry' : values.quick ? 'quick' : 'full'
    const budget = Number(values.budget ?? budgets[mode])
    if (!(budget > 0)) throw new Usage(`--budget: expected seconds above 0, received '${values.budget}'`)
    return { ...values, mode, budget }
  } catch (error) {
    if (!(error instanceof Usage) && error.code?.startsWith('ERR_PARSE_ARGS') !== true) throw error
    console.error(`gpu-check: ${error.message}\n\n${usage}`)
    process.exit(2)
  }
}

/** --resume takes a file or nothing, which parseArgs has no word for. */
function joinedResume(args) {
  return args.flatMap((arg, i) => {
    const given = i > 0 && args[i - 1] === '--resume' && !arg.startsWith('-')
    return given ? ['--state', arg] : [arg]
  })
}

const options = readArguments()
if (options.help) {
  console.log(usage)
  process.exit(0)
}
const { mode } = options
const steps = stepsOf(mode)
if (options.list) {
  for (const { id, share, most, spare, deviceOnly } of steps) {
    const claim = spare ? `when ${share} s are left over` : `${share} s kept`
    console.log(`${id.padEnd(32)} ${deviceOnly ? 'needs a GPU' : `${claim}, at most ${most} s`}`)
  }
  process.exit(0)
}

const out = path.resolve(options.out ?? process.env.OUT ?? path.join(root, '.cache', 'gpu-check'))
const files = {
  state: path.join(out, 'state.jsonl'),
  log: path.join(out, 'log.txt'),
  results: path.join(out, 'results.json'),
}
mkdirSync(out, { recursive: true })
if (options.state !== undefined) {
  if (!existsSync(options.state)) {
    console.error(`gpu-check: --resume: there is no file '${options.state}'`)
    process.exit(2)
  }
  if (path.resolve(options.state) !== files.state) copyFileSync(options.state, files.state)
}
const resumes = options.resume || options.state !== undefined
if (!resumes) for (const file of Object.values(files)) rmSync(file, { force: true })
mendFile(files.state)

let chosen
try {
  chosen = selectSteps(steps, {
    only: options.phase.flatMap((names) => names.split(',')),
    from: options.from,
    done: resumes ? completed(readLines(files.state)) : new Set(),
  })
} catch (error) {
  if (!(error instanceof RangeError)) throw error
  console.error(`gpu-check: ${error.message}`)
  process.exit(2)
}

const scratch = mkdtempSync(path.join(tmpdir(), 'gpu-check-'))
const budget = new Budget(chosen, options.budget)
/** Seconds since scripts/gpu-check was started, of this run's budget. */
const spent = () => Number(process.env.RESNET_GPU_CHECK_SPENT ?? 0) + performance.now() / 1000
const { version } = require('../../package.json')
appendLine(files.state, { line: 'run', date: new Date().toISOString(), mode, version })

function writeResults() {
  const results = assemble(readLines(files.state))
  writeFileSync(`${files.results}.part`, `${JSON.stringify(results, null, 1)}\n`)
  copyFileSync(`${files.results}.part`, files.results)
  rmSync(`${files.results}.part`)
  return results
}

const log = (text) => appendFileSync(files.log, text)

function isFinding(text) {
  if (!text.startsWith('{')) return undefined
  try {
    const value = JSON.parse(text)
    return typeof value.kind === 'string' ? value : undefined
  } catch {
    return undefined
  }
}

function commandOf({ program: { kind, file, args } }) {
  const common = ['--mode', mode, '--scratch', scratch]
  if (kind === 'native') return [binaryOf(file), mode === 'full' ? args : [...args, `--${mode}`]]
  if (kind === 'python') return [python(), ['-u', path.join(here, file), ...args, ...common]]
  return [process.execPath, [path.join(here, file), ...args, ...common]]
}

let stopCurrent = () => {}

/** Runs one step; resolves to its end. The child and whatever it started are killed when its time is over. */
function runStep(step, seconds) {
  const [command, args] = commandOf(step)
  if (command === undefined) {
    return Promise.resolve({ status: 'failed', reason: `${step.program.file} was not built or not carried` })
  }
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      env: childEnvironment({ mode, scratch }),
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    let last = ''
    let timedOut = false
    let lost
    const killAll = () => {
      try {
        process.kill(-child.pid, 'SIGKILL')
      } catch {
        // It has just ended.
      }
    }
    stopCurrent = killAll
    const lines = createInterface({ input: child.stdout })
    const grace = Math.min(graceSeconds, seconds / 4)
    const reason = `stopped after ${Math.round(seconds - grace)} s`
    const timer = setTimeout(
      () => {
        timedOut = true
        killAll()
        lost = setTimeout(() => {
          lines.close()
          child.stdout.destroy()
          child.stderr.destroy()
          child.unref()
          resolve({ status: 'timeout', reason: `${reason}, and did not end when it was killed` })
        }, grace * 1000)
      },
      (seconds - grace) * 1000,
    )
    lines.on('line', (text) => {
      const found = isFinding(text)
      if (found !== undefined) appendLine(files.state, { line: 'found', step: step.id, found })
      else log(`${text}\n`)
    })
    child.stderr.on('data', (data) => {
      const text = data.toString()
      log(text)
      last = (last + text).slice(-4000)
    })
    child.on('error', ({ message }) => {
      clearTimeout(timer)
      resolve({ status: 'failed', reason: message })
    })
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      clearTimeout(lost)
      // Nothing of the step may run into the next one's time.
      killAll()
      if (timedOut) resolve({ status: 'timeout', reason })
      else if (code === 0) resolve({ status: 'done' })
      else if (code === unavailableStatus)
        resolve({ status: 'skipped', reason: last.trim().split('\n').at(-1) })
      else resolve({ status: 'failed', reason: reasonOf(last, code, signal) })
    })
  })
}

function reasonOf(text, code, signal) {
  const how = signal === null ? `exit status ${code}` : `ended by ${signal}`
  const lines = text.trim().split('\n').filter(Boolean)
  const telling = lines.findLast((line) => /error|exception|assert|expected/i.test(line)) ?? lines.at(-1)
  return telling === undefined ? how : `${how}: ${telling.trim().slice(0, 300)}`
}

function end(step, { status, reason }, seconds) {
  const line = { line: 'end', step: step.id, status, seconds, ...(reason === undefined ? {} : { reason }) }
  appendLine(files.state, line)
  const text = `${status.padEnd(8)} ${step.id.padEnd(32)} ${seconds.toFixed(1).padStart(6)} s${reason ? `  ${reason}` : ''}`
  console.log(text)
  log(`== ${text}\n`)
}

/** Clocks, power and temperature of the card while a step ran: what its figures were measured under. */
function conditionsBetween(from) {
  const seen = seenBetween(scratch, from)
  const of = (field) => seen.map((row) => row[field]).filter((value) => typeof value === 'number')
  const span = (field) =>
    of(field).length === 0 ? undefined : [Math.min(...of(field)), median(of(field)), Math.max(...of(field))]
  return {
    samples: seen.length,
    smMhz: span('smMhz'),
    memoryMhz: span('memoryMhz'),
    powerW: span('powerW'),
    temperature: span('temperature'),
    usedMiB: span('usedMiB'),
  }
}

const endMonitor = mode === 'dry' ? () => {} : startMonitor(scratch, log)
let stopped = false
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    stopped = true
    stopCurrent()
  })
}
for (const step of chosen) {
  if (stopped) break
  if (step.deviceOnly) {
    end(step, { status: 'skipped', reason: 'a rehearsal has no device' }, 0)
    continue
  }
  const seconds = budget.allowance(step, spent())
  if (seconds === undefined) {
    const left = Math.max(0, Math.round(budget.left(step, spent())))
    end(
      step,
      { status: 'not run', reason: `budget: ${left} s left of ${options.budget}, it needs ${step.share}` },
      0,
    )
    continue
  }
  log(`\n== ${step.id}\n`)
  appendLine(files.state, { line: 'begin', step: step.id })
  const start = performance.now()
  const from = Date.now()
  const outcome = await runStep(step, seconds)
  const conditions = conditionsBetween(from)
  if (conditions.samples > 0) {
    appendLine(files.state, { line: 'found', step: step.id, found: { kind: 'conditions', ...conditions } })
  }
  end(step, outcome, (performance.now() - start) / 1000)
  writeResults()
}
endMonitor()
const results = writeResults()
rmSync(scratch, { recursive: true, force: true })

const summary = summaryOf(results)
const problems = problemsOf(results)
// A rehearsal's times are of a simulation: they are not shown, lest they be quoted.
if (!results.dryRun) console.log(`\n${summary.join('\n')}`)
else console.log(`\n${results.simulated}`)
console.log(`\n${countsOf(results).join('\n')}`)
if (problems.length > 0) console.log(`\nMissed or failed:\n  ${problems.join('\n  ')}`)
console.log(
  `\n${spent().toFixed(0)} s of ${options.budget}. Written to ${out}: ${Object.values(files)
    .map((file) => path.basename(file))
    .join(', ')}`,
)
process.exit(problems.length === 0 ? 0 : 1)
