// This package through its public API.
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

/**
 * @param {{ checkpoint: string, batch: number, threads: number, device: string, dtype: string }} options
 * @returns a network; `bind(data, shape)` gives a function that runs it once on that input
 */
export async function open({ checkpoint, batch, threads, device, dtype }) {
  const { ResNet, Tensor } = require('../../dist/index.js')
  const model = await ResNet.load(checkpoint, { device, dtype, threads, maxBatch: batch })
  return {
    version: require('../../package.json').version,
    settings: { device, dtype, threads, maxBatch: batch, isa: model.explainDevice().isa },
    bind(data, shape) {
      const x = Tensor.from(data, shape)
      return async () => (await model.forward(x)).data
    },
    close: () => model.dispose(),
  }
}
