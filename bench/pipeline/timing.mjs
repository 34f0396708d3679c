// How every side is timed: a second to warm up, then images counted as their labels come. What is given back is a round
// of lib/bench/types.ts, and the first labels.
import { createRequire } from 'node:module'

const { peakMegabytes, watchUsage } = createRequire(import.meta.url)('../../dist/bench/usage.js')
const warmUpMs = 1000

/** Of a stream one image cannot be told from the next. */
const noLatency = { p50: Number.NaN, p90: Number.NaN, p99: Number.NaN, p999: Number.NaN, max: Number.NaN }

/** The same pictures again and again. Of none it would look for the first for ever. */
export function repeated(images) {
  if (images.length === 0) throw new Error('expected at least one picture, received none')
  return endless(images)
}

function* endless(images) {
  for (;;) yield* images
}

/**
 * @param labels turns a source of images into an async iterable of the best class of each, in order
 * @param opening when loading began, by performance.now()
 */
export async function timed(labels, source, { seconds, opening }) {
  const first = []
  let loaded
  let begin = 0
  let used
  let count = 0
  for await (const index of labels(source)) {
    const now = performance.now()
    loaded ??= { loadMs: now - opening, loadPeakMb: peakMegabytes(), at: now }
    if (first.length < 16) first.push(index)
    if (begin === 0 && now - loaded.at > warmUpMs) {
      begin = now
      used = watchUsage()
      continue
    }
    if (begin === 0) continue
    ++count
    if (now - begin < seconds * 1000) continue
    const { cpuMs, eventLoopP99Ms, peakMb } = used()
    const measured = {
      imagesPerSecond: (count * 1000) / (now - begin),
      calls: count,
      latencyMs: noLatency,
      eventLoopP99Ms,
      cpuMsPerImage: cpuMs / count,
      loadMs: loaded.loadMs,
      loadPeakMb: loaded.loadPeakMb,
      peakMb,
    }
    return { measured, first }
  }
  throw new Error('the source ended')
}

/** What `work` makes of every image, `width` at a time, in order. */
export async function* inFlight(source, width, work) {
  const iterator = source[Symbol.iterator]()
  const waiting = Array.from({ length: width }, () => work(iterator.next().value))
  try {
    for (;;) {
      const done = await waiting.shift()
      waiting.push(work(iterator.next().value))
      yield done
    }
  } finally {
    await Promise.all(waiting)
  }
}
