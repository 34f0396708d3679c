// Small plans written by hand, for tests of the raw addon; plain JavaScript, since child processes load it too.

/** A plan of convolutions, each [R, S] = kernel with "same" padding, over `size` x `size` images. */
function convPlan({ size, channels, kernel = 3, depth = 1, dtype = 'float32' }) {
  const values = [{ name: 'x', shape: [size, size, channels], dtype: 'float32' }]
  const steps = [{ kind: 'input', name: 'input', output: 0, index: 0, dtype, layout: 'nchw' }]
  const parameters = []
  for (let i = 0; i < depth; i++) {
    values.push({ name: `y${i}`, shape: [size, size, channels], dtype: 'float32' })
    parameters.push({ name: `w${i}`, shape: [channels, channels, kernel, kernel] })
    const pad = (kernel - 1) / 2
    steps.push({
      kind: 'conv',
      name: `conv${i}`,
      input: i,
      output: i + 1,
      k: channels,
      kernel: [kernel, kernel],
      stride: [1, 1],
      padding: [pad, pad],
      dilation: [1, 1],
      groups: 1,
      weight: `w${i}`,
      activation: 'relu',
    })
  }
  steps.push({ kind: 'output', name: 'output', input: depth, index: 0, layout: 'nchw' })
  return { version: 1, values, steps, parameters, inputs: 1, outputs: 1 }
}

/** y[k] = relu(weight[k] · x + bias[k]) over 2x2 pixels of one channel: results that a reader can work out. */
const scaleTwice = {
  version: 1,
  values: [
    { name: 'x', shape: [2, 2, 1], dtype: 'float32' },
    { name: 'y', shape: [2, 2, 2], dtype: 'float32' },
  ],
  steps: [
    { kind: 'input', name: 'input', output: 0, index: 0, dtype: 'float32', layout: 'nchw' },
    {
      kind: 'conv',
      name: 'scale',
      input: 0,
      output: 1,
      k: 2,
      kernel: [1, 1],
      stride: [1, 1],
      padding: [0, 0],
      dilation: [1, 1],
      groups: 1,
      weight: 'w',
      bias: 'b',
      activation: 'relu',
    },
    { kind: 'output', name: 'output', input: 1, index: 0, layout: 'nchw' },
  ],
  parameters: [
    { name: 'w', shape: [2, 1, 1, 1] },
    { name: 'b', shape: [2] },
  ],
  inputs: 1,
  outputs: 1,
}

const scaleTwiceTensors = [
  { name: 'w', shape: [2, 1, 1, 1], dtype: 'float32', data: new Float32Array([2, -1]) },
  { name: 'b', shape: [2], dtype: 'float32', data: new Float32Array([0.5, 0]) },
]

/** Formula weights for every parameter of a plan, small enough that activations stay finite. */
function formulaWeights(binding, plan, seed = 1) {
  const tensors = plan.parameters.map(({ name, shape }) => ({ name, shape, lo: -0.05, hi: 0.05 }))
  return binding.weightsFromFormula({ seed, tensors })
}

function compile(binding, plan, weights, options = {}) {
  return binding.compile({
    plan: JSON.stringify(plan),
    weights,
    maxBatch: 1,
    threads: 2,
    float32Precision: 'high',
    ...options,
  })
}

/** The bytes of a .safetensors file of float32 tensors. */
function safetensors(tensors, metadata) {
  const header = metadata === undefined ? {} : { __metadata__: metadata }
  let end = 0
  for (const { name, shape, data } of tensors) {
    header[name] = { dtype: 'F32', shape, data_offsets: [end, end + data.byteLength] }
    end += data.byteLength
  }
  const text = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  const bodies = tensors.map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength))
  return new Uint8Array(Buffer.concat([length, text, ...bodies]))
}

/** Over a gigaflop per image: tens of milliseconds on two cores, so that something can happen in the middle. */
const heavy = convPlan({ size: 64, channels: 64, depth: 32 })
const heavyElements = 64 * 64 * 64

module.exports = {
  convPlan,
  scaleTwice,
  scaleTwiceTensors,
  formulaWeights,
  compile,
  heavy,
  heavyElements,
  safetensors,
}
