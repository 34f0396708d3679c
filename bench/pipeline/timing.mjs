// How both sides are timed: a second to warm up, then images counted as their labels come.
import { monitorEventLoopDelay } from 'node:perf_hooks'

export function* repeated(images) {
  for (;;) yield* images
}

/** @param labels turns a source of images into an async iterable of the best class of each, in order */
export async function timed(labels, source, seconds) {
  const delay = monitorEventLoopDelay({ resolution: 1 })
  const first = []
  let begin = 0
  let cpu = process.cpuUsage()
  let count = 0
  const start = performance.now()
  for await (const index of labels(source)) {
    if (first.length < 16) first.push(index)
    const now = performance.now()
    if (begin === 0 && now - start > 1000) {
      begin = now
      cpu = process.cpuUsage()
      delay.enable()
      continue
    }
    if (begin === 0) continue
    ++count
    if (now - begin < seconds * 1000) continue
    const { user, system } = process.cpuUsage(cpu)
    const imagesPerSecond = (count * 1000) / (now - begin)
    const eventLoopP99Ms = Math.max(0, delay.percentile(99) / 1e6 - 1)
    return { imagesPerSecond, cpuMsPerImage: (user + system) / 1000 / count, eventLoopP99Ms, first }
  }
  throw new Error('the source ended')
}
