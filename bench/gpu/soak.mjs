// Half a minute of many callers at once: two networks, calls of every kind and size, some aborted. Every answer is compared with
// that of a lone call; memory of the process and of the device must not grow.
import { createRequire } from 'node:module'
import { checkNothingAlive, openModel } from './ours.mjs'
import { dry, report } from './step.mjs'

const require = createRequire(import.meta.url)
const { Tensor } = require('../../dist/index.js')
const { mulberry32 } = require('../../dist/bench/statistics.js')

const seconds = dry ? 2 : 30
const callers = dry ? 6 : 96
const size = dry ? 32 : 224
const growthMiB = 64
const bounds = { float16: 5e-3, bfloat16: 4e-2 }

const random = mulberry32(11)
const pick = (list) => list[Math.floor(random() * list.length)]

async function openTarget(name, dtype) {
  const model = await openModel(name, dtype, { maxBatch: dry ? 4 : 32, lanes: 'throughput' })
  const cases = []
  for (const images of dry ? [1, 3] : [1, 2, 5, 32]) {
    const bytes = Uint8Array.from({ length: images * size ** 2 * 3 }, (_, i) => (i * (images + 12)) & 255)
    const x = Tensor.from(bytes, [images, 3, size, size], { layout: 'nhwc' })
    const device = await x.to('cuda')
    const { data: logits } = await model.forward(x)
    const { data: embedding } = await model.embed(x)
    cases.push({ x, device, logits, embedding })
  }
  return { model, cases, bound: bounds[dtype], name: `${name} ${dtype}` }
}

function errorOf(got, expected) {
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
  return expected.reduce((worst, value, i) => Math.max(worst, Math.abs(got[i] - value)), 0) / largest
}

const counts = { calls: 0, images: 0, aborted: 0, wrong: 0 }
let worst = 0
let firstWrong = ''

function compare({ name, bound }, kind, got, expected) {
  const error = errorOf(got, expected)
  worst = Math.max(worst, error)
  if (error <= bound) return
  ++counts.wrong
  firstWrong ||= `${name}, ${kind}: ${error}, at most ${bound}`
}

const kinds = {
  async forward(target, { x, logits }) {
    compare(target, 'forward', (await target.model.forward(x)).data, logits)
  },
  async device(target, { device, logits }) {
    const y = await target.model.forward(device, { output: 'device' })
    const { data } = await y.to('cpu')
    y.dispose()
    compare(target, 'forward on the device', data, logits)
  },
  async embed(target, { x, embedding }) {
    compare(target, 'embed', (await target.model.embed(x)).data, embedding)
  },
  async aborted({ model }, { x }) {
    const controller = new AbortController()
    setTimeout(() => controller.abort(), random() * 3)
    try {
      await model.forward(x, { signal: controller.signal })
    } catch (error) {
      if (error.name !== 'AbortError') throw error
      ++counts.aborted
    }
  },
}

async function caller(targets, end) {
  while (performance.now() < end) {
    const target = pick(targets)
    const one = pick(target.cases)
    await kinds[pick(Object.keys(kinds))](target, one)
    ++counts.calls
    counts.images += one.x.shape[0]
  }
}

const run = (targets, duration) => {
  const end = performance.now() + duration * 1000
  return Promise.all(Array.from({ length: callers }, () => caller(targets, end)))
}

const resident = () => process.memoryUsage.rss() / 2 ** 20
const deviceMiB = (targets) =>
  targets.reduce((sum, { model }) => {
    const { weightBytes, arenaBytes } = model.stats().memory
    return sum + weightBytes + arenaBytes
  }, 0) /
  2 ** 20

const targets = [
  await openTarget('resnet18', 'bfloat16'),
  await openTarget(dry ? 'resnet18' : 'resnet50', 'float16'),
]
// Programs of every batch size are made in the first third; growth counts from there.
await run(targets, seconds / 3)
const before = resident()
const begun = performance.now()
const start = counts.images
await run(targets, seconds / 3)
const between = deviceMiB(targets)
await run(targets, seconds / 3)
const last = deviceMiB(targets) - between
const rate = ((counts.images - start) * 1000) / (performance.now() - begun)
const growth = resident() - before

report('figure', { name: 'soak: images of every kind of call', value: rate, unit: 'images/s' })
report('figure', {
  name: 'soak: growth of the process after the first third',
  value: growth,
  unit: 'MiB',
  most: growthMiB,
})
report('check', {
  name: 'soak: answers',
  good: counts.wrong === 0 && counts.calls > 0,
  detail:
    firstWrong ||
    `${counts.calls} calls, ${counts.images} images, ${counts.aborted} aborted, the worst ${worst.toExponential(1)} off`,
})
report('figure', { name: "soak: growth of the programs' memory in the last third", value: last, unit: 'MiB' })
for (const { model, cases } of targets) {
  for (const { device } of cases) device.dispose()
  await model.dispose()
}
await checkNothingAlive('soak: nothing is left alive')
