import { readFileSync } from 'node:fs'
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks'

/** What this process used between two looks at it. */
export interface Usage {
  cpuMs: number
  /** How late a 1 ms timer fired: 99th percentile less the interval. */
  eventLoopP99Ms: number
  /** Largest resident size since the process began. */
  peakMb: number
}

/** Begins to watch this process; the returned function ends it. */
export function watchUsage(): () => Usage {
  const delay: IntervalHistogram = monitorEventLoopDelay({ resolution: 1 })
  const before = process.cpuUsage()
  delay.enable()
  return () => {
    delay.disable()
    const { user, system } = process.cpuUsage(before)
    const eventLoopP99Ms = Math.max(0, delay.percentile(99) / 1e6 - 1)
    return { cpuMs: (user + system) / 1000, eventLoopP99Ms, peakMb: peakMegabytes() }
  }
}

/** VmHWM where there is a /proc, the largest resident size that getrusage saw elsewhere. */
export function peakMegabytes(): number {
  try {
    const kilobytes = /VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
    return Number(kilobytes) / 1024
  } catch {
    return process.resourceUsage().maxRSS / 1024
  }
}
