import { ResNet } from '../../resnet.js'
import { Tensor } from '../../tensor.js'
import type { Opened } from '../measure.js'
import type { Trial } from '../types.js'

/** This package through its public API. */
export async function open({ network, device, dtype, threads, batch }: Trial): Promise<Opened> {
  const options = { device, dtype, threads, maxBatch: batch } as NonNullable<
    Parameters<typeof ResNet.load>[1]
  >
  const model =
    network.checkpoint === undefined
      ? await ResNet.create(network.name, options)
      : await ResNet.load(network.checkpoint, options)
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
