// This package's share of run.mjs, a child process of it: reads a JSON argument, writes a JSON line. `way`:
//   stream   bytes to labels by classifyStream
//   callers  bytes to labels by 64 concurrent calls of classify
//   decode   bytes to the network's input, and no further
//   network  the network on what decoding would have given, in batches, and nothing else
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { inFlight, repeated, timed } from './timing.mjs'

const require = createRequire(import.meta.url)
const { ResNet, Tensor } = require('../../dist/index.js')
const { preprocess } = require('../../dist/image/decode.js')
const { way, checkpoint, buffers, seconds, threads, settings } = JSON.parse(process.argv[2])
const callers = 64

const images = await Promise.all(buffers.map((file) => readFile(file)))
const opening = performance.now()
const model = await ResNet.load(checkpoint, { device: 'cpu', threads, ...settings })
const { maxBatch } = settings
const line = { line: 1, threads: settings.imageThreads ?? threads }
const prepared = (image) => preprocess(image, model.preprocessing, { line })

/** A batch as the pipeline's would be. */
async function batchOf(list) {
  const inputs = await Promise.all(list.map(prepared))
  const [{ data, channels, height, width }] = inputs
  const joined = new Float32Array(list.length * data.length)
  for (const [i, input] of inputs.entries()) joined.set(input.data, i * data.length)
  return Tensor.from(joined, [list.length, channels, height, width], { transfer: true })
}

const ways = {
  async *stream(source) {
    for await (const { predictions, error } of model.classifyStream(source, { topK: 5 })) {
      if (error) throw error
      yield predictions[0].index
    }
  },
  async *callers(source) {
    yield* inFlight(source, callers, async (image) => (await model.classify(image, { topK: 5 }))[0].index)
  },
  async *decode(source) {
    yield* inFlight(source, 4 * line.threads, async (image) => (await prepared(image)).data.length)
  },
  async *network() {
    const batches = [images.slice(0, maxBatch), images.slice(maxBatch, 2 * maxBatch)]
    const inputs = await Promise.all(batches.map(batchOf))
    // One batch for every lane and one that is ready.
    const width = model.stats().lanes + 1
    for await (const lists of inFlight(repeated(inputs), width, (x) => model.classify(x, { topK: 5 })))
      yield* lists.map(([best]) => best.index)
  },
}

const result = await timed(ways[way], repeated(images), { seconds, opening })
await model.dispose()
process.stdout.write(`${JSON.stringify(result)}\n`)
