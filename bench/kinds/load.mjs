// From opening the file to the first result, and the process's peak memory then. The runner has read the file before.
import { readFileSync } from 'node:fs'

export async function measure({ openMs, run }) {
  const start = performance.now()
  await run()
  return { loadMs: openMs + performance.now() - start, openMs, peakMb: peakMegabytes() }
}

/** VmHWM where there is a /proc, the largest resident size that getrusage saw elsewhere. */
function peakMegabytes() {
  try {
    const [, kilobytes] = /VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))
    return Number(kilobytes) / 1024
  } catch {
    return process.resourceUsage().maxRSS / 1024
  }
}

export const figure = { unit: 'ms', of: ({ loadMs }) => loadMs, better: 'lower' }
