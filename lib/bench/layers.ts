import { parametersOf } from '../architecture/build.js'
import { Tensor } from '../tensor.js'
import { openModel } from './drivers/resnet.js'
import { median } from './statistics.js'
import type { Layer, LayerTable, Limit, Trial } from './types.js'

const runs = 15

/**
 * Every step's time, and with measured limits its share of them: the larger of arithmetic over the machine's multiply-add
 * rate and bytes over its copy rate, over the time it took. Winograd's kernels may pass 1: they multiply less than counted.
 */
export function layerTable(trial: Trial, limits: readonly Limit[] = []): Promise<LayerTable> {
  const { network, batch } = trial
  return withModel(trial, async (model) => {
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
    const rows = (await model.explain({ height, width, batch })).filter(({ kind }) => kind !== 'schedule')
    const { threads, dtype, device } = model.explainDevice()
    const ceilings = device === 'cpu' ? ceilingsOf(limits, dtype, threads) : undefined
    const costs = costsOf(model, rows, batch)
    const layers = rows.map(({ step, implementation }, i): Layer => {
      const milliseconds = median(times.get(step) ?? [])
      const { flop, bytes } = costs[i] as Cost
      const gflop = flop / 1e9
      const gigabytes = bytes / 1e9
      return {
        step,
        implementation,
        milliseconds,
        gflops: (gflop / milliseconds) * 1000,
        gigabytesPerSecond: (gigabytes / milliseconds) * 1000,
        ...(ceilings === undefined
          ? {}
          : { bound: boundSeconds({ flop, bytes }, ceilings) / (milliseconds / 1000) }),
      }
    })
    return { network: network.name, batch, threads, rows: layers }
  })
}

/**
 * Images a second if every step ran at its own bound, one after another; undefined where the limits do not tell (another
 * device, dtype or number of threads).
 */
export function boundOf(trial: Trial, limits: readonly Limit[]): Promise<number | undefined> {
  const { network, batch } = trial
  return withModel(trial, async (model) => {
    const { threads, dtype, device } = model.explainDevice()
    const ceilings = device === 'cpu' ? ceilingsOf(limits, dtype, threads) : undefined
    if (ceilings === undefined) return undefined
    const { height, width } = network
    const rows = await model.explain({ height, width, batch })
    const seconds = costsOf(model, rows, batch).map((cost) => boundSeconds(cost, ceilings))
    return batch / seconds.reduce((sum, step) => sum + step, 0)
  })
}

type Model = Awaited<ReturnType<typeof openModel>>

async function withModel<T>(
  { network, device, dtype, threads, batch }: Trial,
  use: (model: Model) => Promise<T>,
): Promise<T> {
  const options = { device, dtype, threads, maxBatch: batch } as Parameters<typeof openModel>[1]
  const model = await openModel(network, options)
  try {
    return await use(model)
  } finally {
    await model.dispose()
  }
}

/** Operations and bytes of a batch; or of a second, the ceilings. */
interface Cost {
  flop: number
  bytes: number
}

/** explain() counts every image with the weights; a batch needs them once. */
function costsOf(
  model: Model,
  rows: readonly { step: string; flop: number; bytes: number }[],
  batch: number,
) {
  const weights = new Map(
    parametersOf(model.architecture)
      .filter(({ shape }) => shape.length > 1)
      .map(({ name, shape }) => [name.replace(/\.weight$/, ''), 4 * shape.reduce((a, b) => a * b, 1)]),
  )
  return rows.map(({ step, flop, bytes }): Cost => {
    const once = weights.get(step) ?? 0
    return { flop: flop * batch, bytes: (bytes - once) * batch + once }
  })
}

const rateUnits: Record<string, string> = {
  float32: 'GFLOP/s float32',
  bfloat16: 'GFLOP/s bfloat16',
  int8: 'GOP/s int8',
}

function ceilingsOf(limits: readonly Limit[], dtype: string, threads: number): Cost | undefined {
  const best = (unit: string | undefined) =>
    Math.max(
      0,
      ...limits.filter((row) => row.unit === unit && row.threads === threads).map((row) => row.value),
    )
  const rate = best(rateUnits[dtype])
  const copy = best('GB/s')
  return rate === 0 || copy === 0 ? undefined : { flop: rate * 1e9, bytes: copy * 1e9 }
}

function boundSeconds({ flop, bytes }: Cost, ceilings: Cost): number {
  return Math.max(flop / ceilings.flop, bytes / ceilings.bytes)
}
