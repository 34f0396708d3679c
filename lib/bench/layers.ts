import type { ExplainRow } from '../../binding.js'
import { parametersOf } from '../architecture/build.js'
import { Tensor } from '../tensor.js'
import { openModel } from './drivers/resnet.js'
import { median } from './statistics.js'
import type { Layer, LayerTable, Limit, Trial } from './types.js'

const runs = 15

/**
 * Every step's time, and with limits its share of them: the larger of arithmetic over the multiply-add rate and bytes over
 * the copy rate, over the time it took. Winograd's kernels may pass 1: they multiply less than counted. On a GPU a step's time
 * is that of its engine when it was chosen, and its least time the backend's own.
 */
export function layerTable(trial: Trial, limits?: readonly Limit[]): Promise<LayerTable> {
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
    const layers = stepsOf(model, await model.explain({ height, width, batch }), batch, limits).map(
      ({ step, implementation, flop, bytes, least }): Layer => {
        const milliseconds = median(times.get(step) ?? [])
        const aSecond = (amount: number) => (milliseconds > 0 ? amount / (milliseconds / 1000) : Number.NaN)
        return {
          step,
          implementation,
          milliseconds,
          gflops: aSecond(flop / 1e9),
          gigabytesPerSecond: aSecond(bytes / 1e9),
          ...(least === undefined || milliseconds === 0 ? {} : { bound: aSecond(least) }),
        }
      },
    )
    return { network: network.name, batch, threads: model.explainDevice().threads, rows: layers }
  })
}

/**
 * Images a second if every step ran at its own bound, one after another; on a GPU without those that read images and write
 * results. undefined where the limits do not tell (another dtype or number of threads, a GPU without known ceilings).
 */
export function boundOf(trial: Trial, limits: readonly Limit[]): Promise<number | undefined> {
  const { network, batch } = trial
  return withModel(trial, async (model) => {
    const { height, width } = network
    const steps = stepsOf(model, await model.explain({ height, width, batch }), batch, limits)
    const counted = isGpu(model) ? steps.filter(({ kind }) => kind !== 'input' && kind !== 'output') : steps
    let seconds = 0
    for (const { least } of counted) {
      if (least === undefined) return undefined
      seconds += least
    }
    return batch / seconds
  })
}

type Model = Awaited<ReturnType<typeof openModel>>

async function withModel<T>(
  { network, device, dtype, threads, batch }: Trial,
  use: (model: Model) => Promise<T>,
): Promise<T> {
  // Of two tracks a step would have half the batch.
  const tracks = device === 'cpu' ? {} : { tracks: 1 }
  const options = { device, dtype, threads, maxBatch: batch, ...tracks } as Parameters<typeof openModel>[1]
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

/** A step on a whole batch. */
interface StepOfBatch extends Cost {
  step: string
  kind: string
  implementation: string
  /** The least seconds that it needs; undefined: the limits do not tell. */
  least: number | undefined
}

function isGpu(model: Model): boolean {
  return model.device !== 'cpu'
}

function stepsOf(
  model: Model,
  explained: readonly ExplainRow[],
  batch: number,
  limits: readonly Limit[] | undefined,
): StepOfBatch[] {
  const { threads, dtype } = model.explainDevice()
  const rows = explained.filter(({ kind }) => kind !== 'schedule')
  const costs = costsOf(model, rows, batch)
  const ceilings = isGpu(model) ? undefined : ceilingsOf(limits ?? [], dtype, threads)
  const leastOf = (cost: Cost, ceilingMilliseconds: number) => {
    if (ceilings !== undefined) return boundSeconds(cost, ceilings)
    return limits !== undefined && ceilingMilliseconds > 0 ? ceilingMilliseconds / 1000 : undefined
  }
  return rows.map(({ step, kind, implementation, ceilingMilliseconds }, i) => {
    const cost = costs[i] as Cost
    return { step, kind, implementation, ...cost, least: leastOf(cost, ceilingMilliseconds) }
  })
}

/** explain() counts every image with the weights, in float32; a batch needs them once, in the dtype of the network. */
function costsOf(model: Model, rows: readonly ExplainRow[], batch: number): Cost[] {
  const weights = new Map(
    parametersOf(model.architecture)
      .filter(({ shape }) => shape.length > 1)
      .map(({ name, shape }) => [name.replace(/\.weight$/, ''), 4 * shape.reduce((a, b) => a * b, 1)]),
  )
  const width = isGpu(model) && model.dtype !== 'float32' ? 0.5 : 1
  return rows.map(({ step, flop, bytes }) => {
    const once = weights.get(step) ?? 0
    return { flop: flop * batch, bytes: (bytes - once) * batch + once * width }
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
