// Is memory flat over a long stream of images through the embedded network?
//   node --expose-gc bench/soak.mjs [--images 100000] [--warmup 8000] [--leak] [--keep]
// Half of them are PNGs of digits, which sharp decodes, half JPEG photographs. Prints JSON; ends with 1 when the process
// grew by more than 20 MB in the second half. The warm-up fills the heaps of V8 and of the threads that decode: for its first
// thousands of images any process grows. --leak keeps 32 KiB for every image, which must be found out: the check of the
// check. --keep puts it into bench/results/.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { models, ResNet } from 'resnet'
import { keepReport } from './result-file.mjs'

const limitBytes = 20e6
const leakBytes = 32 * 1024

const { values } = parseArgs({
  options: {
    images: { type: 'string', default: '100000' },
    warmup: { type: 'string', default: '8000' },
    leak: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
  },
})
const images = Number(values.images)
if (globalThis.gc === undefined) throw new Error('run it with node --expose-gc')

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..')
const digits = Array.from({ length: 10 }, (_, digit) =>
  readFileSync(path.join(root, 'models', 'samples', `${digit}.png`)),
)
const photographs = ['china.jpg', 'flower.jpg'].map((name) =>
  readFileSync(path.join(root, 'test', 'fixtures', 'images', name)),
)

/** Resident bytes once nothing is left to collect. */
async function resident() {
  for (let i = 0; i < 3; ++i) {
    globalThis.gc()
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return process.memoryUsage.rss()
}

function* source(count) {
  for (let i = 0; i < count; ++i) yield i % 2 === 0 ? digits[(i / 2) % 10] : photographs[(i >> 1) % 2]
}

const model = await ResNet.load(models.digits)
/** The class of a photograph means nothing, but is the same every time. */
const known = new Map(digits.map((image, digit) => [image, digit]))
for (const photograph of photographs) known.set(photograph, (await model.classify(photograph))[0].index)
const kept = []
async function pass(count) {
  let right = 0
  for await (const { input, predictions } of model.classifyStream(source(count), { topK: 1 })) {
    if (values.leak) kept.push(Buffer.alloc(leakBytes, kept.length))
    if (predictions?.[0].index === known.get(input)) right += 1
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
const report = { images, halfBytes: half, endBytes: end, growthBytes: growth, limitBytes, flat }
console.log(JSON.stringify(report))
if (values.keep) await keepReport(values.leak ? 'soak that leaks' : 'soak', report)
process.exitCode = flat ? 0 : 1
