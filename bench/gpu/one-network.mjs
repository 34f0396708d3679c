// One network, run twice and compared with itself: what sanitizer.mjs runs under compute-sanitizer.
import { createRequire } from 'node:module'
import { openModel } from './ours.mjs'
import { dry } from './step.mjs'

const require = createRequire(import.meta.url)
const { Tensor } = require('../../dist/index.js')
const size = dry ? 32 : 224

const model = await openModel('resnet18', 'float16', { maxBatch: 2, autotune: 'off', engineCache: false })
const x = Tensor.from(new Uint8Array(2 * size ** 2 * 3).fill(90), [2, 3, size, size], { layout: 'nhwc' })
const [first, second] = [await model.forward(x), await model.forward(x)]
await model.dispose()
if (!first.data.every((value, i) => Number.isFinite(value) && value === second.data[i])) {
  throw new Error('two runs of the same images differ, or are no numbers')
}
