import type { Outcome, Percentiles } from './batching/recorder.js'
import type { Engine, ModelMemory } from './engine.js'

/** What a model is doing, and has done since it was loaded. */
export interface ModelStats {
  device: string
  dtype: string
  /** Batches that may run at once. */
  lanes: number
  /** Images that are decoded and resized at once. */
  imageThreads: number
  /** Lanes with a batch on them. */
  busyLanes: number
  /** Images that wait: read, decoded, or in line for a batch. */
  queueDepth: number
  /** Images that the network has run. */
  images: number
  /** Over the last ten seconds. */
  imagesPerSecond: number
  /** How many batches there were of each size. */
  batchSizes: Record<number, number>
  /** How calls ended; 'refused' by maxQueue. */
  calls: Record<Outcome, number>
  /**
   * In milliseconds. queue: an image's waiting, without its decoding; decode: reading, decoding and resizing an image,
   * with its wait for one of the threads that do it; compute: the run of a batch; call: from the call to its result, of
   * completed calls.
   */
  latencyMs: Record<'queue' | 'decode' | 'compute' | 'call', Percentiles>
  /** Compiled programs, their packed weights and the memory that lanes work in; on a GPU what is in use there. */
  memory: ModelMemory
}

export function statsOf(engine: Engine, { device, dtype }: { device: string; dtype: string }): ModelStats {
  const { recorder, options } = engine
  const { queueDepth, busyLanes, memory } = engine.load()
  const { images, imagesPerSecond, batchSizes, calls } = recorder
  return {
    device,
    dtype,
    lanes: options.shape.lanes,
    imageThreads: options.imageThreads,
    busyLanes,
    queueDepth,
    images,
    imagesPerSecond,
    batchSizes: Object.fromEntries([...batchSizes].sort(([a], [b]) => a - b)),
    calls: { ...calls },
    latencyMs: recorder.latencies(),
    memory,
  }
}
