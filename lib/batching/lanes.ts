/** What the option `lanes` may say; see ModelOptions. */
export type LanesOption = 'auto' | 'latency' | 'throughput' | number

interface Chosen {
  device: string
  threads: number
}

/** How many batches run at once, and with how many threads. */
export interface LaneShape {
  /** At most. */
  lanes: number
  /** Of every lane; with `shares` those of all lanes together. */
  threads: number
  /** The threads that a batch may get, from the most to the fewest; absent: all get the same. */
  shares?: readonly number[]
}

/** A GPU runs one batch as fast as it can; a second lane copies images in and results out meanwhile. */
const gpuLanes = 2
/** Into which parts threads are divided as more batches wait: every part keeps decoded images and memory of its own. */
const parts = [1, 2, 4, 8]

export function laneShape(lanes: LanesOption, { device, threads }: Chosen): LaneShape {
  if (lanes === 'latency') return { lanes: 1, threads }
  if (device !== 'cpu') {
    if (lanes === 'auto') return { lanes: 1, threads }
    return { lanes: lanes === 'throughput' ? gpuLanes : lanes, threads }
  }
  if (lanes === 'auto') {
    const shares = [...new Set(parts.map((count) => Math.max(1, Math.floor(threads / count))))]
    return { lanes: Math.floor(threads / (shares.at(-1) as number)), threads, shares }
  }
  if (lanes === 'throughput') return { lanes: threads, threads: 1 }
  return { lanes, threads: Math.max(1, Math.floor(threads / lanes)) }
}

/** How many batches may run at once with so many threads each. */
export function lanesWith(each: number, { lanes, threads, shares }: LaneShape): number {
  return shares === undefined ? lanes : Math.floor(threads / each)
}
