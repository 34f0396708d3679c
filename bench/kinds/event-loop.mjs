// How late timers fire while the network runs without pause: the delay's 99th percentile less the 1 ms interval.
import { monitorEventLoopDelay } from 'node:perf_hooks'

const toMs = (nanoseconds) => nanoseconds / 1e6

export async function measure({ run, seconds }) {
  await run()
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  let runs = 0
  const end = performance.now() + seconds * 1000
  while (performance.now() < end) {
    await run()
    runs++
  }
  delay.disable()
  return { runs, p99Ms: Math.max(0, toMs(delay.percentile(99)) - 1), maxMs: toMs(delay.max) }
}

export const figure = { unit: 'ms late (p99)', of: ({ p99Ms }) => p99Ms, better: 'lower' }
