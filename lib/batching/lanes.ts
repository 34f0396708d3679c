/** What the option `lanes` may say; see ModelOptions. */
export type LanesOption = 'latency' | 'throughput' | number

interface Chosen {
  device: string
  threads: number
}

/** A GPU runs one batch as fast as it can; a second lane copies images in and results out meanwhile. */
const gpuLanes = 2

/** How many lanes there are, and the threads of each. */
export function laneShape(
  lanes: LanesOption,
  { device, threads }: Chosen,
): { lanes: number; threads: number } {
  if (lanes === 'latency') return { lanes: 1, threads }
  if (device !== 'cpu') return { lanes: lanes === 'throughput' ? gpuLanes : lanes, threads }
  if (lanes === 'throughput') return { lanes: threads, threads: 1 }
  return { lanes, threads: Math.max(1, Math.floor(threads / lanes)) }
}
