import { readFile } from 'node:fs/promises'
import type { LoadOptions } from '../../model-options.js'
import { ResNet } from '../../resnet.js'
import { Tensor } from '../../tensor.js'
import { deviceMemory } from '../device-memory.js'
import type { Opened } from '../measure.js'
import { type StageSums, stageSums, stagesBetween } from '../stages.js'
import type { Network, Trial } from '../types.js'

/** The trial's network from its checkpoint, or with random weights. */
export function openModel(network: Network, options: LoadOptions): Promise<ResNet> {
  if (network.checkpoint === undefined) return ResNet.create(network.name, options)
  return ResNet.load(network.checkpoint, options)
}

/** This package through its public API. */
export async function open(trial: Trial): Promise<Opened> {
  const { network, device, dtype, threads, batch, lanes, images } = trial
  const options = { device, dtype, threads, maxBatch: batch, ...(lanes ? { lanes } : {}) } as LoadOptions
  const model = await openModel(network, options)
  const files = await Promise.all((images ?? []).map((file) => readFile(file)))
  return {
    version: require('../../../package.json').version,
    settings: { ...options, ...model.explainDevice(), considered: undefined },
    bind(data, shape) {
      if (files.length > 0) return classifier(model, files, shape[0] as number)
      const x = Tensor.from(data, shape)
      return async () => (await model.forward(x)).data
    },
    prepare: () => prepare(model, trial),
    stages: () => watchStages(model),
    deviceMemory: () => deviceMemory(model.stats()),
    close: () => model.dispose(),
  }
}

/** `count` encoded images a call, taken in turn; it resolves to the first scores. */
function classifier(model: ResNet, files: readonly Buffer[], count: number): () => Promise<Float32Array> {
  let next = 0
  return async () => {
    const images = Array.from({ length: count }, () => files[next++ % files.length] as Buffer)
    const predictions = await model.classify(images, { topK: 1 })
    return Float32Array.from(predictions, ([first]) => first?.score ?? Number.NaN)
  }
}

/** Single images that arrive at random run in batches of any power of two: all of those are compiled before it counts. */
async function prepare(model: ResNet, { load, batch, network, images }: Trial): Promise<void> {
  if (load.kind === 'closed') return
  const batches = [batch]
  for (let size = 1; size < batch; size *= 2) batches.push(size)
  const { crop } = model.preprocessing
  const [height, width] =
    images === undefined || crop === null
      ? [network.height, network.width]
      : Array.isArray(crop)
        ? crop
        : [crop, crop]
  await model.warmup({ height, width, batches, method: images === undefined ? 'forward' : 'classify' })
}

/** From stats(), but for the runs of batches, which count as often as they had images. */
function watchStages(model: ResNet) {
  let computeMs = 0
  const stop = model.observe({
    queued: () => {},
    decoded: () => {},
    computed: (milliseconds, images) => {
      computeMs += milliseconds * images
    },
    ended: () => {},
  })
  const before: StageSums = { ...stageSums(model.stats()), computeMs: 0, weighted: true }
  return () => {
    stop()
    return stagesBetween(before, { ...stageSums(model.stats()), computeMs, weighted: true })
  }
}
