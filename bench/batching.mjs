// What do joined calls cost against a loop written by hand?
//   node bench/batching.mjs [--model resnet18] [--size 224] [--callers 64] [--seconds 2] [--rounds 5] [--threads 0] [--keep]
// Both run the same network on tensors: a loop with batches of each size, and many callers with one image each. The
// rounds are interleaved; prints JSON with medians and 'share', which is callers of a model with the maxBatch that it has
// by default over the best of all loops (0.95 is the goal), and what a lone call takes beyond the run of its batch (0.3 ms
// is the goal). --keep puts it into bench/results/.
import { parseArgs } from 'node:util'
import { models, ResNet, Tensor } from 'resnet'
import { median } from '../dist/bench/statistics.js'
import { modelTable } from '../dist/model-options.js'
import { keepReport } from './result-file.mjs'

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'resnet18' },
    size: { type: 'string', default: '224' },
    callers: { type: 'string', default: '64' },
    seconds: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '5' },
    threads: { type: 'string', default: '0' },
    keep: { type: 'boolean', default: false },
  },
})
const digits = values.model === 'digits'
const size = digits ? 28 : Number(values.size)
const channels = digits ? 1 : 3
const batches = [1, 2, 4, 8, 16, 32]
const standard = modelTable.maxBatch.fallback

const load = (options) =>
  digits ? ResNet.load(models.digits, options) : ResNet.create(values.model, { numClasses: 1000, ...options })
const tensor = (images) =>
  Tensor.from(new Float32Array(images * channels * size * size).fill(0.5), [images, channels, size, size])

/** Images a second while `callers` of them run one call after another. */
async function throughput(model, callers, x) {
  const begun = performance.now()
  const end = begun + Number(values.seconds) * 1000
  let images = 0
  const caller = async () => {
    while (performance.now() < end) {
      await model.forward(x)
      images += x.shape[0]
    }
  }
  await Promise.all(Array.from({ length: callers }, caller))
  return (images / (performance.now() - begun)) * 1000
}

/** Milliseconds of a lone call beyond the run of its batch. */
async function loneOverhead(model, x) {
  const before = model.stats().latencyMs
  const calls = 200
  const total = performance.now()
  for (let i = 0; i < calls; ++i) await model.forward(x)
  const elapsed = performance.now() - total
  const { compute } = model.stats().latencyMs
  return (elapsed - (compute.mean * compute.count - before.compute.mean * before.compute.count)) / calls
}

const threads = Number(values.threads)
const loops = new Map(batches.map((batch) => [batch, []]))
const joined = new Map(batches.map((batch) => [batch, []]))
const model = new Map()
for (const batch of batches) {
  model.set(batch, await load({ maxBatch: batch, threads }))
  const buckets = batches.filter((bucket) => bucket <= batch)
  await model.get(batch).warmup({ height: size, width: size, batches: buckets, method: 'forward' })
}
for (let round = 0; round < Number(values.rounds); ++round) {
  for (const batch of batches) {
    loops.get(batch).push(await throughput(model.get(batch), 1, tensor(batch)))
    joined.get(batch).push(await throughput(model.get(batch), Number(values.callers), tensor(1)))
  }
}
const best = batches.reduce((a, b) => (median(loops.get(b)) > median(loops.get(a)) ? b : a))
const { keep, ...asked } = values
const report = {
  ...asked,
  imagesPerSecond: Object.fromEntries(
    batches.map((batch) => [batch, { loop: median(loops.get(batch)), callers: median(joined.get(batch)) }]),
  ),
  bestBatch: best,
  share: median(joined.get(standard)) / median(loops.get(best)),
  loneOverheadMs: await loneOverhead(model.get(standard), tensor(1)),
  batchSizes: model.get(standard).stats().batchSizes,
}
console.log(JSON.stringify(report, null, 2))
if (keep) await keepReport(`batching ${values.model}`, report)
for (const one of model.values()) await one.dispose()
