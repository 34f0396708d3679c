// Single operations on the GPU against torch.nn.functional (test/fixtures/parity/ops.json), each as a plan of its own.
import { createRequire } from 'node:module'
import { formula, opFixtures, rule } from '../../scripts/formula.cjs'
import { report } from './step.mjs'

const require = createRequire(import.meta.url)
const { lower } = require('../../dist/graph/lower.js')
const { addon } = require('../../dist/native/call.js')
const { cudaDevice, leaseDevice } = require('../../dist/native/devices.js')

/** float16 rounds inputs, weights and results; values are of a few units. */
const bounds = { float32: 1e-4, float16: 1e-2 }

const pair = (value, fallback) => (Array.isArray(value) ? value : [value ?? fallback, value ?? fallback])
const sizeOf = (shape) => shape.reduce((product, length) => product * length, 1)

function conv({ name, input, shape: [k, , r, s], options = {}, ...rest }) {
  return {
    kind: 'conv',
    name,
    input,
    k,
    kernel: [r, s],
    stride: pair(options.stride, 1),
    padding: pair(options.padding, 0),
    dilation: pair(options.dilation, 1),
    groups: options.groups ?? 1,
    activation: 'none',
    ...rest,
  }
}

function norm(prefix, has, eps = 1e-5) {
  const name = (part) => (prefix === '' ? part : `${prefix}.${part}`)
  return {
    ...(has(name('weight')) ? { weight: name('weight') } : {}),
    ...(has(name('bias')) ? { bias: name('bias') } : {}),
    mean: name('running_mean'),
    var: name('running_var'),
    eps,
  }
}

function pool(kind, { kernel, stride, padding, dilation, ceilMode = false, countIncludePad = true }) {
  const window = { kernel: pair(kernel), stride: pair(stride ?? kernel), padding: pair(padding, 0), ceilMode }
  const own = kind === 'avgPool' ? { dilation: [1, 1], countIncludePad } : { dilation: pair(dilation, 1) }
  return [{ kind, name: 'y', input: 'x', ...window, ...own }]
}

/** torchvision's blocks: stride, groups and dilation are the 3x3's; the first one of a basic block, the middle one of a bottleneck. */
function block(bottleneck, shapes, { stride = 1, groups = 1, dilation = 1 }) {
  const has = (name) => shapes.has(name)
  const strided = { stride, groups, dilation, padding: dilation }
  const rows = bottleneck ? [{}, strided, {}] : [{ stride, padding: 1 }, { padding: 1 }]
  const nodes = []
  let shortcut = 'x'
  if (has('downsample.0.weight')) {
    const shape = shapes.get('downsample.0.weight')
    const weight = 'downsample.0.weight'
    nodes.push(
      conv({
        name: 'shortcut',
        input: 'x',
        shape,
        options: { stride },
        weight,
        norm: norm('downsample.1', has),
      }),
    )
    shortcut = 'shortcut'
  }
  let input = 'x'
  for (const [i, options] of rows.entries()) {
    const last = i === rows.length - 1
    const weight = `conv${i + 1}.weight`
    const name = last ? 'y' : `conv${i + 1}`
    const rest = {
      weight,
      norm: norm(`bn${i + 1}`, has),
      activation: 'relu',
      ...(last ? { residual: shortcut } : {}),
    }
    nodes.push(conv({ name, input, shape: shapes.get(weight), options, ...rest }))
    input = name
  }
  return nodes
}

function graphOf({ op, options, parameters }) {
  const shapes = new Map(parameters.map(({ name, shape }) => [name, shape]))
  const has = (name) => shapes.has(name)
  const bias = has('bias') ? { bias: 'bias' } : {}
  switch (op) {
    case 'conv2d':
      return [
        conv({ name: 'y', input: 'x', shape: shapes.get('weight'), options, weight: 'weight', ...bias }),
      ]
    case 'linear':
      return [
        { kind: 'linear', name: 'y', input: 'x', k: shapes.get('weight')[0], weight: 'weight', ...bias },
      ]
    case 'maxPool2d':
      return pool('maxPool', options)
    case 'avgPool2d':
      return pool('avgPool', options)
    case 'globalAvgPool2d':
      return [{ kind: 'globalAvgPool', name: 'y', input: 'x' }]
    case 'batchNorm':
      return [{ kind: 'affine', name: 'y', input: 'x', norm: norm('', has, options.eps), activation: 'none' }]
    case 'relu':
      return [{ kind: 'activation', name: 'y', input: 'x', activation: 'relu' }]
    case 'add':
      return [{ kind: 'add', name: 'y', input: 'x', other: 'y0', activation: 'none' }]
    case 'softmax':
      return [{ kind: 'softmax', name: 'y', input: 'x' }]
    case 'topK':
      return [{ kind: 'topK', name: 'y', input: 'x', k: options.k }]
    default:
      return block(op === 'bottleneck', shapes, options)
  }
}

const dataOf = (row, { name, shape, lo, hi }) =>
  formula({ seed: rule.seed, name: `${row.name}:${name}`, count: sizeOf(shape), lo, hi })

async function run(row, dtype, device) {
  const binding = addon()
  const second = row.op === 'add' ? row.parameters : []
  const inputOf = (name, [, c, h = 1, w = 1]) => ({
    name,
    shape: [h, w, c],
    dtype: 'float32',
    layout: 'nchw',
  })
  const inputs = [inputOf('x', row.x.shape), ...second.map(({ shape }) => inputOf('y0', shape))]
  const names = row.op === 'topK' ? ['y', 'y.indices'] : ['y']
  const outputs = names.map((name) => ({ name, layout: 'nchw' }))
  const { plan, outputShapes } = lower({ graph: graphOf(row), inputs, outputs, dtype })
  const tensors = (second.length > 0 ? [] : row.parameters).map((parameter) => ({
    name: parameter.name,
    shape: parameter.shape,
    dtype: 'float32',
    data: dataOf(row, parameter),
  }))
  const weights = binding.weightsFromTensors({ tensors })
  const batch = row.x.shape[0]
  const options = {
    threads: 0,
    float32Precision: 'high',
    autotune: 'off',
    graphs: true,
    workspaceLimit: 2 ** 28,
  }
  const program = await binding.compile({
    plan: JSON.stringify(plan),
    weights,
    maxBatch: batch,
    device,
    ...options,
  })
  const lane = await program.createLane()
  const results = outputShapes.map(([h, w, c], i) => {
    const Kind = names[i] === 'y.indices' ? Int32Array : Float32Array
    return new Kind(batch * h * w * c).fill(-1)
  })
  const given = [dataOf(row, { name: 'x', ...row.x }), ...second.map((parameter) => dataOf(row, parameter))]
  await lane.run({ batch, inputs: given.map((data) => [data]), outputs: results.map((data) => [data]) })
  await lane.dispose()
  await program.dispose()
  await weights.dispose()
  return results
}

/** Of topK in float16 equal scores may trade places: the scores are compared, the indices in float32 alone. */
function errorOf(row, dtype, [values, indices]) {
  if (values.length !== row.expected.length) {
    throw new Error(`expected ${row.expected.length} elements, got ${values.length}`)
  }
  if (indices && dtype === 'float32' && Array.from(indices).join() !== row.indices.join())
    return Number.POSITIVE_INFINITY
  return row.expected.reduce((worst, value, i) => Math.max(worst, Math.abs(values[i] - value)), 0) / row.max
}

const { plugin, info } = await cudaDevice(addon(), 'cuda')
const lease = await leaseDevice(plugin, info.index, 0)
for (const row of opFixtures().rows) {
  for (const dtype of ['float32', 'float16']) {
    // Scores of logits in the hundreds are as wrong as float16 is coarse: not the operation's doing.
    const bound = dtype === 'float16' && row.op === 'softmax' && row.x.hi > 10 ? 0.2 : bounds[dtype]
    const found = { suite: 'operations', case: `${row.name} ${dtype}`, bound }
    try {
      const error = errorOf(row, dtype, await run(row, dtype, lease.device))
      report('accuracy', { ...found, error: Number.isFinite(error) ? error : 1e300, good: error <= bound })
    } catch (cause) {
      report('accuracy', { ...found, case: `${found.case}: ${cause.message}`, error: 1e300, good: false })
    }
  }
}
lease.release()
