import { readFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { median, mulberry32, percentiles } from './statistics.js'
import type { Measured, Trial } from './types.js'

/** A network of some driver, opened. */
export interface Opened {
  version: string
  settings: Record<string, unknown>
  /** Makes the call for `images` images of one input; it resolves to the logits. */
  bind(data: Float32Array, shape: readonly number[]): () => Promise<Float32Array>
  close(): Promise<void>
}

interface Session {
  trial: Trial
  opened: Opened
  openMs: number
  seconds: number
  /** Calls a second of an open loop. */
  rate?: number
}

const windowMs = 200
const steadyWindows = 3
const steadiness = 0.03
const longestWarmUpMs = 5000
const fewestCalls = 8

/** Measures one round. The first call counts as loading; then the network warms up until its speed is steady. */
export async function measure(session: Session): Promise<Measured> {
  const { trial, opened, openMs } = session
  const open = trial.load.kind === 'open'
  const images = open ? 1 : trial.batch
  const { channels, height, width } = trial.network
  const random = mulberry32(1)
  const data = Float32Array.from({ length: images * channels * height * width }, () => random() * 4 - 2)
  const call = opened.bind(data, [images, channels, height, width])
  const start = performance.now()
  await call()
  const loadMs = openMs + performance.now() - start
  const loadPeakMb = peakMegabytes()
  await warmUp(call)

  const delay = monitorEventLoopDelay({ resolution: 1 })
  const cpu = process.cpuUsage()
  delay.enable()
  const begin = performance.now()
  const run = open ? await openLoop(call, session) : await closedLoop(call, session.seconds)
  const elapsed = (performance.now() - begin) / 1000
  delay.disable()
  const { user, system } = process.cpuUsage(cpu)
  const done = run.latencies.length * images
  return {
    imagesPerSecond: done / elapsed,
    calls: run.latencies.length,
    latencyMs: percentiles(run.latencies),
    eventLoopP99Ms: Math.max(0, delay.percentile(99) / 1e6 - 1),
    cpuMsPerImage: (user + system) / 1000 / done,
    loadMs,
    loadPeakMb,
    peakMb: peakMegabytes(),
    ...(open ? { offeredPerSecond: session.rate, refused: run.refused } : {}),
  }
}

async function warmUp(call: () => Promise<unknown>): Promise<void> {
  const deadline = performance.now() + longestWarmUpMs
  const windows: number[] = []
  while (performance.now() < deadline) {
    const times: number[] = []
    const end = performance.now() + windowMs
    do {
      const start = performance.now()
      await call()
      times.push(performance.now() - start)
    } while (performance.now() < end)
    windows.push(median(times))
    const last = windows.slice(-steadyWindows)
    const steady = Math.max(...last) / Math.min(...last) < 1 + steadiness
    if (last.length === steadyWindows && steady) return
  }
}

interface Run {
  latencies: number[]
  refused: number
}

async function closedLoop(call: () => Promise<unknown>, seconds: number): Promise<Run> {
  const latencies: number[] = []
  const end = performance.now() + seconds * 1000
  while (performance.now() < end || latencies.length < fewestCalls) {
    const start = performance.now()
    await call()
    latencies.push(performance.now() - start)
  }
  return { latencies, refused: 0 }
}

/** Calls start when their time has come, whatever became of the earlier ones; a late start counts as latency. */
async function openLoop(call: () => Promise<unknown>, { rate = 1, seconds }: Session): Promise<Run> {
  const random = mulberry32(7)
  const latencies: number[] = []
  const running = new Set<Promise<void>>()
  let refused = 0
  const begin = performance.now()
  const end = begin + seconds * 1000
  let intended = begin
  for (;;) {
    intended += (-Math.log(1 - random()) * 1000) / rate
    if (intended >= end) break
    const wait = intended - performance.now()
    if (wait > 0) await sleep(wait)
    const due = intended
    const finished: Promise<void> = call()
      .then(
        () => void latencies.push(performance.now() - due),
        (error) => {
          if (error?.code !== 'ERR_RESNET_QUEUE_FULL') throw error
          ++refused
        },
      )
      .finally(() => running.delete(finished))
    running.add(finished)
  }
  await Promise.all(running)
  return { latencies, refused }
}

/** VmHWM where there is a /proc, the largest resident size that getrusage saw elsewhere. */
function peakMegabytes(): number {
  try {
    const kilobytes = /VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
    return Number(kilobytes) / 1024
  } catch {
    return process.resourceUsage().maxRSS / 1024
  }
}
