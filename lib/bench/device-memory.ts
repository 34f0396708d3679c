import type { ModelStats } from '../stats.js'
import type { Measured } from './types.js'

const megabyte = 2 ** 20

/** What is in use on a model's GPU; nothing of a model on the CPU, or of a server that does not tell. */
export function deviceMemory(
  stats: Pick<ModelStats, 'memory'> | undefined,
): Pick<Measured, 'deviceMb' | 'deviceDriverMb'> {
  const device = stats?.memory?.device
  if (device === undefined) return {}
  const { weights, arenas, tensors, staging, process: counted } = device
  return {
    deviceMb: (weights + arenas + tensors + staging) / megabyte,
    deviceDriverMb: counted > 0 ? counted / megabyte : Number.NaN,
  }
}
