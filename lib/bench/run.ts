import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import type { ChildCall } from './child.js'
import { describeMachine } from './machine.js'
import { median } from './statistics.js'
import {
  type DriverResult,
  type Measured,
  type Results,
  resultFormat,
  resultVersion,
  type Trial,
  type TrialResult,
} from './types.js'

const execute = promisify(execFile)

export interface RunOptions {
  trials: readonly Trial[]
  /** 'resnet' and peers by the names of ./drivers. */
  drivers: readonly string[]
  rounds: number
  seconds: number
  /** Folder from whose node_modules peers are loaded. */
  peers: string
  signal?: AbortSignal
  /** Called after each trial. */
  onTrial?: (result: TrialResult) => void
}

/** 'resnet50 224x224 float32 cpu batch 8 threads 2', with ' open 0.8' for an open loop: the key that `compare` joins by. */
export function nameOf({ network, dtype, device, batch, threads, load }: Trial): string {
  const { name, height, width } = network
  const arrival = load.kind === 'open' ? ` open ${load.share}` : ''
  return `${name} ${height}x${width} ${dtype} ${device} batch ${batch} threads ${threads}${arrival}`
}

/**
 * Runs every trial in every driver, a fresh process each time: round by round, the order turning about, so that whatever
 * slows the machine for a while hits all alike.
 */
export async function runTrials(options: RunOptions): Promise<Results> {
  const { rounds, seconds } = options
  const machine = describeMachine()
  const trials: TrialResult[] = []
  for (const trial of options.trials) {
    const result = await runTrial(trial, trials, options)
    trials.push(result)
    options.onTrial?.(result)
  }
  const date = new Date().toISOString()
  return { format: resultFormat, version: resultVersion, date, machine, rounds, seconds, trials }
}

async function runTrial(
  trial: Trial,
  before: readonly TrialResult[],
  { drivers, rounds, seconds, peers, signal }: RunOptions,
): Promise<TrialResult> {
  const results = drivers.map((driver): DriverResult => {
    return { driver, version: '', settings: {}, rounds: [] }
  })
  for (let round = 0; round < rounds; ++round) {
    for (const result of round % 2 === 0 ? results : [...results].reverse()) {
      if (result.error !== undefined) continue
      try {
        const rate = rateOf(trial, result.driver, before)
        const call = { trial, driver: result.driver, seconds, rate, peers }
        const { version, settings, measured } = await runChild(call, signal)
        Object.assign(result, { version, settings })
        result.rounds.push(measured)
      } catch (error) {
        signal?.throwIfAborted()
        result.error = lastLines(error)
      }
    }
  }
  return { ...trial, name: nameOf(trial), drivers: results }
}

/** Calls a second of an open loop: its share of what the closed loop of the same driver reached. */
function rateOf(trial: Trial, driver: string, before: readonly TrialResult[]): number | undefined {
  if (trial.load.kind !== 'open') return undefined
  const closed = before.find(({ name }) => name === nameOf({ ...trial, load: { kind: 'closed' } }))
  const rounds = closed?.drivers.find((result) => result.driver === driver)?.rounds ?? []
  if (rounds.length === 0) throw new Error('its closed loop, which gives the rate, did not run')
  return trial.load.share * median(rounds.map(({ imagesPerSecond }) => imagesPerSecond))
}

async function runChild(
  call: ChildCall,
  signal?: AbortSignal,
): Promise<{ version: string; settings: Record<string, unknown>; measured: Measured }> {
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
