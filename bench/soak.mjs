// Is memory flat over a long stream of images through the embedded network?
//   node --expose-gc bench/soak.mjs [--images 100000] [--warmup 4000] [--leak]
// Prints JSON; ends with 1 when the process grew by more than 20 MB in the second half. The warm-up fills the heaps
// of V8 and of the threads that decode: for its first thousands of images any process grows. --leak keeps 32 KiB for every
// image, which must be found out: the check of the check.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { models, ResNet } from 'resnet'

const limitBytes = 20e6
const leakBytes = 32 * 1024

const { values } = parseArgs({
  options: {
    images: { type: 'string', default: '100000' },
    warmup: { type: 'string', default: '4000' },
    leak: { type: 'boolean', default: false },
  },
})
const images = Number(values.images)
if (globalThis.gc === undefined) throw new Error('run it with node --expose-gc')

const samples = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', 'models', 'samples')
const digits = Array.from({ length: 10 }, (_, digit) => readFileSync(path.join(samples, `${digit}.png`)))

/** Resident bytes once nothing is left to collect. */
async function resident() {
  for (let i = 0; i < 3; ++i) {
    globalThis.gc()
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return process.memoryUsage.rss()
}

function* source(count) {
  for (let i = 0; i < count; ++i) yield digits[i % 10]
}

const model = await ResNet.load(models.digits)
const kept = []
async function pass(count) {
  let right = 0
  for await (const { input, predictions } of model.classifyStream(source(count), { topK: 1 })) {
    if (values.leak) kept.push(Buffer.alloc(leakBytes, kept.length))
    if (predictions?.[0].index === digits.indexOf(input)) right += 1
  }
  if (right !== count) throw new Error(`${count - right} of ${count} images were named wrongly`)
}

await pass(Number(values.warmup))
const first = Math.floor(images / 2)
await pass(first)
const half = await resident()
await pass(images - first)
const end = await resident()
await model.dispose()

const growth = end - half
const flat = growth < limitBytes
console.log(JSON.stringify({ images, halfBytes: half, endBytes: end, growthBytes: growth, limitBytes, flat }))
process.exitCode = flat ? 0 : 1
