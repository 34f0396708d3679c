import type { Percentiles } from './types.js'

export function median(list: readonly number[]): number {
  return quantile(
    [...list].sort((a, b) => a - b),
    0.5,
  )
}

/** Of a sorted list, interpolated between neighbours (type 7 of Hyndman & Fan 1996, the default of NumPy and R). */
export function quantile(sorted: readonly number[], share: number): number {
  const position = share * (sorted.length - 1)
  const below = sorted[Math.floor(position)] ?? Number.NaN
  const above = sorted[Math.ceil(position)] ?? Number.NaN
  const further = position - Math.floor(position)
  // Neighbours may be infinite.
  return further === 0 || below === above ? below : below + (above - below) * further
}

export function percentiles(list: readonly number[]): Percentiles {
  const sorted = [...list].sort((a, b) => a - b)
  const at = (share: number) => quantile(sorted, share)
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1) }
}

export interface Interval {
  ratio: number
  low: number
  high: number
}

const resamples = 2000

/**
 * The ratio of two medians, b over a, with its 95 % interval by the percentile bootstrap over rounds (Efron 1979). The
 * resampling is seeded: the same files give the same answer.
 */
export function ratioOfMedians(a: readonly number[], b: readonly number[]): Interval {
  const random = mulberry32(0x5eed)
  const draw = (list: readonly number[]) =>
    median(list.map(() => list[Math.floor(random() * list.length)] as number))
  const resampled = () => {
    const after = draw(b)
    const before = draw(a)
    // Nothing over nothing is no difference.
    return before === after ? 1 : after / before
  }
  // Of floats: unlike a difference, their order is right of what is infinite too.
  const ratios = [...Float64Array.from({ length: resamples }, resampled).sort()]
  return { ratio: median(b) / median(a), low: quantile(ratios, 0.025), high: quantile(ratios, 0.975) }
}

/** When the calls of `milliseconds` are due: a Poisson process of `rate` a second, the same for the same rate. */
export function poissonArrivals(rate: number, milliseconds: number): number[] {
  const random = mulberry32(7)
  const times: number[] = []
  for (let due = 0; ; ) {
    due += (-Math.log(1 - random()) * 1000) / rate
    if (due >= milliseconds) return times
    times.push(due)
  }
}

/** Uniform numbers in [0, 1) from a 32-bit state: Tommy Ettinger's mulberry32. */
export function mulberry32(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
