import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'

/** How a call ended: 'refused' by maxQueue. */
export type Outcome = 'completed' | 'failed' | 'aborted' | 'refused'

/** Durations in milliseconds. */
export interface Percentiles {
  count: number
  mean: number
  p50: number
  p90: number
  p99: number
  p999: number
  max: number
}

/** Hears of what happens while it happens; durations in milliseconds. */
export interface Observer {
  /** Images that leave the queue for a batch. */
  queued(milliseconds: number, images: number): void
  /** One image. */
  decoded(milliseconds: number): void
  /** One batch. */
  computed(milliseconds: number, images: number): void
  ended(outcome: Outcome, milliseconds: number): void
}

/** Histograms are of microseconds, up to an hour, with three digits. */
const longest = 3_600_000_000
const windowSeconds = 10

/** What a model has done since it was loaded. */
export class Recorder implements Observer {
  readonly observers = new Set<Observer>()
  readonly batchSizes = new Map<number, number>()
  readonly calls: Record<Outcome, number> = { completed: 0, failed: 0, aborted: 0, refused: 0 }
  images = 0
  private readonly durations = {
    queue: newHistogram(),
    decode: newHistogram(),
    compute: newHistogram(),
    call: newHistogram(),
  }
  private readonly began = performance.now()
  /** Images by the second in which they were done; only the last few seconds are kept. */
  private readonly seconds = new Map<number, number>()

  queued(milliseconds: number, images: number): void {
    for (let i = 0; i < images; ++i) record(this.durations.queue, milliseconds)
    for (const observer of this.observers) observer.queued(milliseconds, images)
  }

  decoded(milliseconds: number): void {
    record(this.durations.decode, milliseconds)
    for (const observer of this.observers) observer.decoded(milliseconds)
  }

  computed(milliseconds: number, images: number): void {
    record(this.durations.compute, milliseconds)
    this.images += images
    this.batchSizes.set(images, (this.batchSizes.get(images) ?? 0) + 1)
    const second = Math.floor(performance.now() / 1000)
    this.seconds.set(second, (this.seconds.get(second) ?? 0) + images)
    this.forgetBefore(second - windowSeconds)
    for (const observer of this.observers) observer.computed(milliseconds, images)
  }

  ended(outcome: Outcome, milliseconds: number): void {
    this.calls[outcome] += 1
    if (outcome === 'completed') record(this.durations.call, milliseconds)
    for (const observer of this.observers) observer.ended(outcome, milliseconds)
  }

  /** Over the last ten seconds, or since the start if that is less. */
  get imagesPerSecond(): number {
    const now = performance.now()
    this.forgetBefore(Math.floor(now / 1000) - windowSeconds)
    const done = [...this.seconds.values()].reduce((sum, images) => sum + images, 0)
    const counted = (now / 1000) % 1 // of the second that is not over
    return done / Math.min(windowSeconds + counted, Math.max(0.001, (now - this.began) / 1000))
  }

  latencies(): Record<'queue' | 'decode' | 'compute' | 'call', Percentiles> {
    const { queue, decode, compute, call } = this.durations
    return {
      queue: percentiles(queue),
      decode: percentiles(decode),
      compute: percentiles(compute),
      call: percentiles(call),
    }
  }

  private forgetBefore(first: number): void {
    for (const second of this.seconds.keys()) {
      if (second >= first) return
      this.seconds.delete(second)
    }
  }
}

function newHistogram(): RecordableHistogram {
  return createHistogram({ lowest: 1, highest: longest, figures: 3 })
}

function record(histogram: RecordableHistogram, milliseconds: number): void {
  histogram.record(Math.min(longest, Math.max(1, Math.round(milliseconds * 1000))))
}

function percentiles(histogram: RecordableHistogram): Percentiles {
  const at = (percentile: number) => histogram.percentile(percentile) / 1000
  const { count } = histogram
  if (count === 0) return { count, mean: 0, p50: 0, p90: 0, p99: 0, p999: 0, max: 0 }
  return {
    count,
    mean: histogram.mean / 1000,
    p50: at(50),
    p90: at(90),
    p99: at(99),
    p999: at(99.9),
    max: histogram.max / 1000,
  }
}
