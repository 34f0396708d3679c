import { median, mulberry32, percentiles, poissonArrivals } from './statistics.js'
import { type Demand, makeCalls, type Run, type Subject } from './subject.js'
import type { Measured, Stages, Trial } from './types.js'
import { watchUsage } from './usage.js'

type WatchStages = () => Awaitable<() => Awaitable<Stages | undefined>>
type Awaitable<T> = T | Promise<T>

/** A network of some driver, opened in this process. */
export interface Opened {
  version: string
  settings: Record<string, unknown>
  /** Makes the call for `images` images of one input; it resolves to the logits. */
  bind(data: Float32Array, shape: readonly number[]): () => Promise<Float32Array>
  /** What there is to do, beside warming up, before a round counts. */
  prepare?(): Promise<void>
  /** Begins to add up where the time of images goes; the returned function ends it. */
  stages?: WatchStages
  /** In use on a GPU now. */
  deviceMemory?(): Pick<Measured, 'deviceMb' | 'deviceDriverMb'>
  close(): Promise<void>
}

interface Session {
  trial: Trial
  opened: Opened
  openMs: number
  seconds: number
  /** Calls a second of an open loop. */
  rate?: number
  /** Gets the logits of a second call, before anything is timed; it throws when they are wrong. */
  check?(logits: Float32Array): void
}

/** Measures one round of a network in this process. The first call counts as loading. */
export async function measure(session: Session): Promise<Measured> {
  const { trial, opened, openMs, seconds, rate } = session
  const { data, shape } = inputOf(trial)
  const call = opened.bind(data, shape)
  const subject = localSubject(call, trial.lanes)
  const load = await firstCall(subject, openMs)
  session.check?.(await call())
  await opened.prepare?.()
  const measured = await measureSubject({ trial, subject, load, seconds, rate, stages: opened.stages })
  return { ...measured, ...opened.deviceMemory?.() }
}

/** The input of every driver in this trial: the same numbers, as tensors [images, channels, height, width]. */
export function inputOf(trial: Trial): { data: Float32Array; shape: number[] } {
  const { channels, height, width } = trial.network
  const shape = [imagesOfCall(trial), channels, height, width]
  const random = mulberry32(1)
  const count = shape.reduce((product, size) => product * size, 1)
  return { data: Float32Array.from({ length: count }, () => random() * 4 - 2), shape }
}

function imagesOfCall({ load, batch }: Trial): number {
  return load.kind === 'closed' ? batch : 1
}

/** What is called from this process, and runs in it; in a closed loop by so many callers. */
export function localSubject(call: () => Promise<unknown>, callers = 1): Subject {
  return {
    async run(demand) {
      const stop = watchUsage()
      const begin = performance.now()
      const calls = await makeCalls(call, demand, callers)
      return { ...calls, elapsedMs: performance.now() - begin, ...stop() }
    },
  }
}

export type LoadFigures = Pick<Measured, 'loadMs' | 'loadPeakMb'>

export async function firstCall(subject: Subject, openMs: number): Promise<LoadFigures> {
  const { elapsedMs, peakMb } = await subject.run({ kind: 'closed', milliseconds: 0, fewest: 1 })
  return { loadMs: openMs + elapsedMs, loadPeakMb: peakMb }
}

interface SubjectSession {
  trial: Trial
  subject: Subject
  load: LoadFigures
  seconds: number
  rate?: number
  stages?: WatchStages
}

const fewestCalls = 8

/** Measures one round of what has answered its first call: it warms up until its speed is steady, then it counts. */
export async function measureSubject(session: SubjectSession): Promise<Measured> {
  const { trial, subject, load, seconds, rate = 1 } = session
  const warm = await warmUp(subject)
  const open = trial.load.kind !== 'closed'
  const demand: Demand = open
    ? { kind: 'open', arrivals: poissonArrivals(rate, seconds * 1000) }
    : { kind: 'closed', milliseconds: seconds * 1000, fewest: fewestCalls }
  const stopStages = await session.stages?.()
  const run = await subject.run(demand)
  const stages = await stopStages?.()
  const done = run.latencies.length * imagesOfCall(trial)
  return {
    imagesPerSecond: (done / run.elapsedMs) * 1000,
    calls: run.latencies.length,
    latencyMs: percentiles(run.latencies),
    eventLoopP99Ms: run.eventLoopP99Ms,
    cpuMsPerImage: run.cpuMs / done,
    ...load,
    peakMb: run.peakMb,
    ...warm,
    ...(open ? { offeredPerSecond: session.rate, refused: run.refused } : {}),
    ...(stages === undefined ? {} : { stages }),
  }
}

const windowMs = 200
const callsOfWindow = 2
const steadyWindows = 3
const steadiness = 0.03
const longestWarmUpMs = 10_000
const fewestWindows = 5

/**
 * Windows of 200 ms, or two calls if those take longer, until the medians of three that follow one another lie within
 * 3 %. After 10 s and five windows it gives up and says that it was not steady.
 */
async function warmUp(subject: Subject): Promise<{ warmUpMs: number; steady: boolean }> {
  const begin = performance.now()
  const windows: number[] = []
  for (;;) {
    const run: Run = await subject.run({ kind: 'closed', milliseconds: windowMs, fewest: callsOfWindow })
    windows.push(median(run.latencies))
    const last = windows.slice(-steadyWindows)
    const warmUpMs = performance.now() - begin
    if (last.length === steadyWindows && Math.max(...last) / Math.min(...last) < 1 + steadiness) {
      return { warmUpMs, steady: true }
    }
    if (warmUpMs >= longestWarmUpMs && windows.length >= fewestWindows) return { warmUpMs, steady: false }
  }
}
