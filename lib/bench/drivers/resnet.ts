import type { LoadOptions } from '../../model-options.js'
import { ResNet } from '../../resnet.js'
import { Tensor } from '../../tensor.js'
import type { Opened } from '../measure.js'
import type { Network, Trial } from '../types.js'

/** The trial's network from its checkpoint, or with random weights. */
export function openModel(network: Network, options: LoadOptions): Promise<ResNet> {
  if (network.checkpoint === undefined) return ResNet.create(network.name, options)
  return ResNet.load(network.checkpoint, options)
}

/** This package through its public API. */
export async function open({ network, device, dtype, threads, batch }: Trial): Promise<Opened> {
  const options = { device, dtype, threads, maxBatch: batch } as LoadOptions
  const model = await openModel(network, options)
  return {
    version: require('../../../package.json').version,
    settings: { ...options, ...model.explainDevice(), considered: undefined },
    bind(data, shape) {
      const x = Tensor.from(data, shape)
      return async () => (await model.forward(x)).data
    },
    close: () => model.dispose(),
  }
}
