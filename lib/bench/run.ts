import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { describeMachine } from './machine.js'
import { isPython } from './peers.js'
import { pythonRound, type Round, type RoundCall } from './round.js'
import { median } from './statistics.js'
import {
  type DriverResult,
  type Results,
  resultFormat,
  resultVersion,
  type Trial,
  type TrialResult,
} from './types.js'

const execute = promisify(execFile)

export interface RunOptions {
  trials: readonly Trial[]
  /** 'resnet' and peers by the names of peers.ts. Trials with images are for 'resnet' alone, those of a server for 'http'. */
  drivers: readonly string[]
  rounds: number
  seconds: number
  /** Folder from whose node_modules peers are loaded. */
  peers: string
  /** Interpreter that has the peers in Python. */
  python?: string
  signal?: AbortSignal
  /** Called after each trial. */
  onTrial?: (result: TrialResult) => void
}

/**
 * 'resnet50 224x224 float32 cpu batch 8 threads 2', with ' lanes 2', ' images' and ' open 0.8' or ' at 50/s' where they
 * apply; 'POST /classify connections 8' of a server: the key that `compare` joins by.
 */
export function nameOf(trial: Trial): string {
  const { network, dtype, device, batch, threads, lanes = 1, images, http } = trial
  if (http !== undefined) {
    return `POST ${pathOf(http.url)} connections ${http.connections}${arrivalOf(trial)}`
  }
  const { name, height, width } = network
  const more = `${lanes === 1 ? '' : ` lanes ${lanes}`}${images === undefined ? '' : ' images'}`
  return `${name} ${height}x${width} ${dtype} ${device} batch ${batch} threads ${threads}${more}${arrivalOf(trial)}`
}

function arrivalOf({ load }: Trial): string {
  if (load.kind === 'closed') return ''
  return load.kind === 'open' ? ` open ${load.share}` : ` at ${load.perSecond}/s`
}

function pathOf(url: string): string {
  return url.startsWith('/') ? url : new URL(url).pathname
}

/**
 * Runs every trial in every driver, a fresh process each time: round by round, the order turning about, so that whatever
 * slows the machine for a while hits all alike. Peers whose logits are not this package's are not timed.
 */
export async function runTrials(options: RunOptions): Promise<Results> {
  const { rounds, seconds } = options
  const machine = describeMachine()
  const trials: TrialResult[] = []
  const folder = await mkdtemp(path.join(tmpdir(), 'resnet-bench-'))
  try {
    for (const [number, trial] of options.trials.entries()) {
      const logits = path.join(folder, `${number}.f32`)
      const result = await runTrial({ trial, before: trials, logits, options })
      trials.push(result)
      options.onTrial?.(result)
    }
  } finally {
    await rm(folder, { recursive: true })
  }
  const date = new Date().toISOString()
  return { format: resultFormat, version: resultVersion, date, machine, rounds, seconds, trials }
}

interface TrialRun {
  trial: Trial
  before: readonly TrialResult[]
  /** The file for this package's logits. */
  logits: string
  options: RunOptions
}

async function runTrial({ trial, before, logits, options }: TrialRun): Promise<TrialResult> {
  const { rounds, seconds, peers, signal } = options
  const results = driversOf(trial, options).map((driver): DriverResult => {
    return { driver, version: '', settings: {}, rounds: [] }
  })
  // Another's images have no logits, and no tensor of ours a peer's pictures.
  const compared = trial.images === undefined && results.length > 1
  for (let round = 0; round < rounds; ++round) {
    for (const result of round % 2 === 0 ? results : [...results].reverse()) {
      if (result.error !== undefined) continue
      try {
        const { driver } = result
        const rate = rateOf(trial, driver, before)
        const call: RoundCall = {
          trial,
          driver,
          seconds,
          rate,
          peers,
          ...(compared ? { logits } : {}),
        }
        const { measured, ...rest } = await runRound(call, options)
        Object.assign(result, rest)
        result.rounds.push(measured)
      } catch (error) {
        signal?.throwIfAborted()
        result.error = lastLines(error)
      }
    }
  }
  return { ...trial, name: nameOf(trial), drivers: results }
}

function driversOf({ http, images }: Trial, { drivers }: RunOptions): readonly string[] {
  if (http !== undefined) return ['http']
  return images === undefined ? drivers : drivers.filter((driver) => driver === 'resnet')
}

/** Calls a second of an open loop: as given, or its share of what the closed loop of the same driver reached. */
function rateOf(trial: Trial, driver: string, before: readonly TrialResult[]): number | undefined {
  if (trial.load.kind === 'closed') return undefined
  if (trial.load.kind === 'rate') return trial.load.perSecond
  const closed = before.find(({ name }) => name === nameOf({ ...trial, load: { kind: 'closed' } }))
  const rounds = closed?.drivers.find((result) => result.driver === driver)?.rounds ?? []
  if (rounds.length === 0) throw new Error('its closed loop, which gives the rate, did not run')
  return trial.load.share * median(rounds.map(({ imagesPerSecond }) => imagesPerSecond))
}

function runRound(call: RoundCall, { python = 'python3', signal }: RunOptions): Promise<Round> {
  return isPython(call.driver) ? pythonRound(call, python, signal) : childRound(call, signal)
}

async function childRound(call: RoundCall, signal?: AbortSignal): Promise<Round> {
  const child = path.join(__dirname, 'child.js')
  const options = { maxBuffer: 2 ** 24, signal }
  const { stdout } = await execute(process.execPath, [child, JSON.stringify(call)], options)
  return JSON.parse(stdout.trim().split('\n').at(-1) as string)
}

function lastLines(error: unknown): string {
  const { stderr, message } = error as { stderr?: string; message?: string }
  const text = (stderr ?? '').trim() || message || String(error)
  return text.slice(-2000)
}
