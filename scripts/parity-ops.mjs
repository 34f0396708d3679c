// Every single operation of the fixtures against torch.nn.functional, on the tier that RESNET_ISA names: a JSON line a
// case. Twice each, the second time from and to NHWC memory where the operation has images.
import { createRequire } from 'node:module'
import { formula, opFixtures, rule } from './formula.cjs'

const require = createRequire(import.meta.url)
const { ops, Tensor } = require('../dist/index.js')

/** What dtype float32 promises. */
const bound = 2e-5

const sizeOf = (shape) => shape.reduce((product, length) => product * length, 1)

function tensorOf(owner, { name, shape, lo, hi }) {
  const data = formula({ seed: rule.seed, name: `${owner}:${name}`, count: sizeOf(shape), lo, hi })
  return Tensor.from(data, shape)
}

/** Position in NCHW order → position in NHWC order. */
function nhwcIndex([, c, h, w], position) {
  const x = position % w
  const y = Math.floor(position / w) % h
  const channel = Math.floor(position / (w * h)) % c
  const image = Math.floor(position / (w * h * c))
  return ((image * h + y) * w + x) * c + channel
}

function toNhwc(tensor) {
  const data = new Float32Array(tensor.data.length)
  tensor.data.forEach((value, position) => {
    data[nhwcIndex(tensor.shape, position)] = value
  })
  return Tensor.from(data, tensor.shape, { layout: 'nhwc' })
}

/** How the package is asked for a case. */
const calls = {
  conv2d: (x, { weight, bias }, options) => ops.conv2d(x, weight, bias ? { ...options, bias } : options),
  linear: (x, { weight, bias }, options) => ops.linear(x, weight, bias ? { ...options, bias } : options),
  add: (x, { y }) => ops.add(x, x.layout === 'nhwc' ? toNhwc(y) : y),
  relu: (x) => ops.relu(x),
  softmax: (x) => ops.softmax(x),
  globalAvgPool2d: (x) => ops.globalAvgPool2d(x),
  maxPool2d: (x, _parameters, options) => ops.maxPool2d(x, options),
  avgPool2d: (x, _parameters, options) => ops.avgPool2d(x, options),
  topK: (x, _parameters, options) => ops.topK(x, options),
  batchNorm: (x, parameters, options) => ops.batchNorm(x, parameters, options),
  basicBlock: (x, parameters, options) => ops.basicBlock(x, parameters, options),
  bottleneck: (x, parameters, options) => ops.bottleneck(x, parameters, options),
}

async function errorOf(row, layout) {
  const parameters = Object.fromEntries(
    row.parameters.map((range) => [range.name, tensorOf(row.name, range)]),
  )
  const nchw = tensorOf(row.name, { name: 'x', ...row.x })
  const answer = await calls[row.op](layout === 'nhwc' ? toNhwc(nchw) : nchw, parameters, row.options)
  const y = answer.scores ?? answer
  if (y.shape.join() !== row.shape.join()) return `expected shape [${row.shape}], got [${y.shape}]`
  if (answer.indices && Array.from(answer.indices.data).join() !== row.indices.join()) {
    return `expected indices ${row.indices}, got ${Array.from(answer.indices.data)}`
  }
  const at = y.layout === 'nhwc' ? (i) => y.data[nhwcIndex(y.shape, i)] : (i) => y.data[i]
  return row.expected.reduce((worst, value, i) => Math.max(worst, Math.abs(at(i) - value)), 0) / row.max
}

for (const row of opFixtures().rows) {
  for (const layout of row.x.shape.length === 4 ? ['nchw', 'nhwc'] : ['nchw']) {
    const error = await errorOf(row, layout).catch((cause) => `${cause.code ?? ''} ${cause.message}`)
    console.log(JSON.stringify({ name: `${row.name} [${layout}]`, error, good: error <= bound }))
  }
}
