import { checkLogits, keepLogits } from './check.js'
import { firstCall, inputOf, measure, measureSubject, type Opened } from './measure.js'
import { PythonPeer } from './python.js'
import type { Measured, Trial } from './types.js'

/** One round of one driver: what child.ts gets as JSON. */
export interface RoundCall {
  trial: Trial
  driver: string
  seconds: number
  rate?: number
  /** Folder from whose node_modules a peer is loaded. */
  peers: string
  /** File of this package's logits: written by its own driver, compared with by the others. */
  logits?: string
}

export interface Round {
  version: string
  settings: Record<string, unknown>
  measured: Measured
  logitsError?: number
}

/** In this process: opens, checks the logits, measures. */
export async function localRound(call: RoundCall, open: () => Promise<Opened>): Promise<Round> {
  const { trial, seconds, rate } = call
  const begin = performance.now()
  const opened = await open()
  const openMs = performance.now() - begin
  let checked = {}
  const check = (logits: Float32Array) => {
    checked = checkAgainst(call, logits)
  }
  const measured = await measure({ trial, opened, openMs, seconds, rate, check })
  const { version, settings } = opened
  await opened.close()
  return { version, settings, measured, ...checked }
}

/** In an interpreter's process, which this one asks and waits for. */
export async function pythonRound(call: RoundCall, python: string, signal?: AbortSignal): Promise<Round> {
  const { trial, driver, seconds, rate } = call
  signal?.throwIfAborted()
  const subject = PythonPeer.start(python)
  const kill = () => subject.kill()
  signal?.addEventListener('abort', kill)
  try {
    const { data, shape } = inputOf(trial)
    const { version, settings, openMs } = await subject.open(driver, trial, shape[0] as number)
    await subject.input(data, shape)
    const load = await firstCall(subject, openMs)
    const checked = checkAgainst(call, await subject.logits())
    const measured = await measureSubject({ trial, subject, load, seconds, rate })
    return { version, settings, measured, ...checked }
  } finally {
    signal?.removeEventListener('abort', kill)
    await subject.close()
  }
}

function checkAgainst(
  { driver, logits: file, trial }: RoundCall,
  logits: Float32Array,
): { logitsError?: number } {
  if (file === undefined) return {}
  if (driver === 'resnet') {
    keepLogits(file, logits)
    return {}
  }
  const logitsError = checkLogits(file, logits, trial.dtype)
  return logitsError === undefined ? {} : { logitsError }
}
