import { Tensor } from '../tensor.js'
import { openModel } from './drivers/resnet.js'
import { median } from './statistics.js'
import type { Layer, LayerTable, Limit, Trial } from './types.js'

const runs = 15

/**
 * Every step's time, and with measured limits its share of them: the larger of arithmetic over the machine's multiply-add
 * rate and bytes over its copy rate, over the time it took. Winograd's kernels may pass 1: they multiply less than counted.
 */
export async function layerTable(trial: Trial, limits: readonly Limit[] = []): Promise<LayerTable> {
  const { network, batch, threads } = trial
  const model = await openModel(network, { device: 'cpu', threads, maxBatch: batch })
  try {
    const { channels, height, width } = network
    const data = Float32Array.from({ length: batch * channels * height * width }, (_, i) => Math.sin(i))
    const x = Tensor.from(data, [batch, channels, height, width])
    const times = new Map<string, number[]>()
    for (let run = 0; run < runs; ++run) {
      await model.forward(x)
      for (const { step, milliseconds } of await model.explain({ height, width, batch })) {
        times.set(step, [...(times.get(step) ?? []), milliseconds])
      }
    }
    const rows = await model.explain({ height, width, batch })
    const used = model.explainDevice().threads
    const layers = rows.map(({ step, implementation, flop, bytes }): Layer => {
      const milliseconds = median(times.get(step) ?? [])
      const gflop = (flop * batch) / 1e9
      const gigabytes = (bytes * batch) / 1e9
      const bound = boundMs(gflop, gigabytes, limits, used)
      return {
        step,
        implementation,
        milliseconds,
        gflops: (gflop / milliseconds) * 1000,
        gigabytesPerSecond: (gigabytes / milliseconds) * 1000,
        ...(bound === undefined ? {} : { bound: bound / milliseconds }),
      }
    })
    return { network: network.name, batch, threads: used, rows: layers }
  } finally {
    await model.dispose()
  }
}

function boundMs(
  gflop: number,
  gigabytes: number,
  limits: readonly Limit[],
  threads: number,
): number | undefined {
  const best = (unit: string) =>
    Math.max(
      0,
      ...limits.filter((row) => row.unit === unit && row.threads === threads).map((row) => row.value),
    )
  const rate = best('GFLOP/s float32')
  const copy = best('GB/s')
  if (rate === 0 || copy === 0) return undefined
  return Math.max(gflop / rate, gigabytes / copy) * 1000
}
