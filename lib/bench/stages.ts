import type { ModelStats } from '../stats.js'
import type { Stages } from './types.js'

/** The sums that the means of an image are made of, in milliseconds. */
export interface StageSums {
  calls: number
  images: number
  batches: number
  callMs: number
  queueMs: number
  decodeMs: number
  /** Runs of batches, each as often as it had images; where that is not known, runs of batches. */
  computeMs: number
  weighted: boolean
}

/** Since the model was loaded; the difference of two is what happened between them. */
export function stageSums({ latencyMs, images, batchSizes }: ModelStats): StageSums {
  const sum = ({ count, mean }: { count: number; mean: number }) => (count === 0 ? 0 : count * mean)
  return {
    calls: latencyMs.call.count,
    images,
    batches: Object.values(batchSizes).reduce((all, count) => all + count, 0),
    callMs: sum(latencyMs.call),
    queueMs: sum(latencyMs.queue),
    decodeMs: sum(latencyMs.decode),
    computeMs: sum(latencyMs.compute),
    weighted: false,
  }
}

/** Where the time of an image went between two looks; undefined when no call ended. */
export function stagesBetween(before: StageSums, after: StageSums): Stages | undefined {
  const of = (key: Exclude<keyof StageSums, 'weighted'>) => after[key] - before[key]
  const [calls, images, batches] = [of('calls'), of('images'), of('batches')]
  if (calls <= 0 || images <= 0 || batches <= 0) return undefined
  const call = of('callMs') / calls
  const queueMs = of('queueMs') / images
  const decodeMs = of('decodeMs') / images
  const computeMs = of('computeMs') / (after.weighted ? images : batches)
  const restMs = Math.max(0, call - queueMs - decodeMs - computeMs)
  return { queueMs, decodeMs, computeMs, restMs, meanBatch: images / batches }
}
