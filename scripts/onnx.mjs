// A plan and its weights as an ONNX file: every step becomes the operators that it fuses, under the checkpoint's names.
//
// The protobuf wire format needs two kinds of field here, varints and length-delimited bytes, so it is written by hand.
// Field numbers: onnx.proto of the ONNX repository; operators as in opset 17.
import { closeSync, openSync, writeSync } from 'node:fs'

const opset = 17
const elementType = { float32: 1, int64: 7 }

function varint(value) {
  const bytes = []
  let rest = BigInt.asUintN(64, BigInt(value))
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128)
    rest >>= 7n
  }
  bytes.push(Number(rest))
  return Buffer.from(bytes)
}

const integer = (field, value) => [varint(field << 3), varint(value)]
const bytes = (field, parts) => {
  const list = [parts].flat(Number.POSITIVE_INFINITY)
  const length = list.reduce((sum, part) => sum + part.length, 0)
  return [varint((field << 3) | 2), varint(length), ...list]
}
const text = (field, value) => bytes(field, Buffer.from(value))
const float = (field, value) => {
  const word = Buffer.alloc(4)
  word.writeFloatLE(value)
  return [varint((field << 3) | 5), word]
}

function attribute(name, value) {
  const head = text(1, name)
  if (Array.isArray(value)) return bytes(5, [head, value.map((item) => integer(8, item)), integer(20, 7)])
  if (Number.isInteger(value)) return bytes(5, [head, integer(3, value), integer(20, 2)])
  return bytes(5, [head, float(2, value.float), integer(20, 1)])
}

function node(op, name, inputs, outputs, attributes = {}) {
  const rows = Object.entries(attributes).map(([key, value]) => attribute(key, value))
  const io = [inputs.map((input) => text(1, input)), outputs.map((output) => text(2, output))]
  return bytes(1, [io, text(3, name), text(4, op), rows])
}

function tensor(name, shape, data, type = 'float32') {
  const raw = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  return bytes(5, [
    shape.map((size) => integer(1, size)),
    integer(2, elementType[type]),
    text(8, name),
    bytes(9, raw),
  ])
}

// A graph's input or output; a name among the sizes is a size that the caller decides.
function valueInfo(field, name, shape, type = 'float32') {
  const dims = shape.map((size) => bytes(1, typeof size === 'string' ? text(2, size) : integer(1, size)))
  return bytes(field, [text(1, name), bytes(2, bytes(1, [integer(1, elementType[type]), bytes(2, dims)]))])
}

/** The operators of one step; `v` names a value, `constant` adds an initializer and gives its name. */
const writers = {
  conv(step, { v, norm }) {
    const stages = [
      step.norm && 'norm',
      step.residual !== undefined && 'add',
      step.activation === 'relu' && 'relu',
    ]
    const after = stages.filter(Boolean)
    const name = (stage) => (stage === (after.at(-1) ?? 'conv') ? v(step.output) : `${step.name}/${stage}`)
    const { kernel, stride, padding, dilation, groups } = step
    const attributes = { kernel_shape: [...kernel], strides: [...stride], pads: [...padding, ...padding] }
    const weights = [step.weight, step.bias].filter(Boolean)
    const inputs = [v(step.input), ...weights]
    const nodes = [
      node('Conv', step.name, inputs, [name('conv')], {
        ...attributes,
        dilations: [...dilation],
        group: groups,
      }),
    ]
    let last = name('conv')
    if (step.norm) {
      nodes.push(norm(`${step.name}/norm`, last, name('norm'), step.norm, step.k))
      last = name('norm')
    }
    if (step.residual !== undefined) {
      nodes.push(node('Add', `${step.name}/add`, [last, v(step.residual)], [name('add')]))
      last = name('add')
    }
    if (step.activation === 'relu') nodes.push(node('Relu', `${step.name}/relu`, [last], [name('relu')]))
    return nodes
  },
  maxPool: (step, context) => pool('MaxPool', step, context, { dilations: [...step.dilation] }),
  avgPool: (step, context) =>
    pool('AveragePool', step, context, { count_include_pad: step.countIncludePad === false ? 0 : 1 }),
  globalAvgPool: (step, { v }) => [
    node('GlobalAveragePool', step.name, [v(step.input)], [`${step.name}/map`]),
    node('Flatten', `${step.name}/flatten`, [`${step.name}/map`], [v(step.output)], { axis: 1 }),
  ],
  linear: (step, { v }) => {
    const inputs = [v(step.input), step.weight, step.bias].filter(Boolean)
    return [node('Gemm', step.name, inputs, [v(step.output)], { transB: 1 })]
  },
  affine(step, { v, norm, shape }) {
    const relu = step.activation === 'relu'
    const out = relu ? `${step.name}/norm` : v(step.output)
    const nodes = [norm(step.name, v(step.input), out, step.norm, shape(step.output)[2])]
    return relu ? [...nodes, node('Relu', `${step.name}/relu`, [out], [v(step.output)])] : nodes
  },
  add(step, { v }) {
    const relu = step.activation === 'relu'
    const sum = relu ? `${step.name}/sum` : v(step.output)
    const nodes = [node('Add', step.name, [v(step.a), v(step.b)], [sum])]
    return relu ? [...nodes, node('Relu', `${step.name}/relu`, [sum], [v(step.output)])] : nodes
  },
  activation: (step, { v }) => [node('Relu', step.name, [v(step.input)], [v(step.output)])],
  softmax: (step, { v }) => [node('Softmax', step.name, [v(step.input)], [v(step.output)], { axis: 1 })],
  topK: (step, { v, constant }) => {
    const k = constant(`${step.name}/k`, [1], BigInt64Array.of(BigInt(step.k)), 'int64')
    return [node('TopK', step.name, [v(step.input), k], [v(step.scores), v(step.indices)], { axis: 1 })]
  },
  input(step) {
    if (step.dtype === 'float32' && step.layout === 'nchw') return []
    throw new Error(
      `${step.name}: only float32 NCHW inputs are exported, received ${step.dtype} ${step.layout}`,
    )
  },
  output(step, { v }) {
    if (step.layout === 'nchw') return [node('Identity', step.name, [v(step.input)], [step.name])]
    throw new Error(`${step.name}: only NCHW outputs are exported, received ${step.layout}`)
  },
}

function pool(op, step, { v }, attributes) {
  const { kernel, stride, padding, ceilMode } = step
  const window = { kernel_shape: [...kernel], strides: [...stride], pads: [...padding, ...padding] }
  return [
    node(op, step.name, [v(step.input)], [v(step.output)], {
      ...window,
      ceil_mode: ceilMode ? 1 : 0,
      ...attributes,
    }),
  ]
}

/**
 * Writes `plan` as ONNX, the batch size left open as 'N'.
 *
 * @param {string} path of the file to write
 * @param {import('../lib/graph/plan.js').Plan} plan
 * @param {(name: string) => Float32Array} read gives a parameter
 */
export function writeOnnx(path, plan, read) {
  const constants = []
  const constant = (name, shape, data, type) => {
    constants.push(tensor(name, shape, data, type))
    return name
  }
  const context = {
    v: (id) => plan.values[id].name,
    shape: (id) => plan.values[id].shape,
    constant,
    norm(name, input, output, { weight, bias, mean, var: variance, eps }, channels) {
      const scale = weight ?? constant(`${name}/one`, [channels], new Float32Array(channels).fill(1))
      const shift = bias ?? constant(`${name}/zero`, [channels], new Float32Array(channels))
      return node('BatchNormalization', name, [input, scale, shift, mean, variance], [output], {
        epsilon: { float: eps },
      })
    },
  }
  const nodes = plan.steps.map((step) => writers[step.kind](step, context))
  const initializers = plan.parameters.map(({ name, shape }) => tensor(name, shape, read(name)))
  const border = (kind, field, id, name) =>
    plan.steps
      .filter((step) => step.kind === kind)
      .map((step) => {
        const { shape, dtype } = plan.values[step[id]]
        return valueInfo(field, name(step), nchw(shape), dtype === 'int32' ? 'int64' : 'float32')
      })
  const inputs = border('input', 11, 'output', (step) => plan.values[step.output].name)
  const outputs = border('output', 12, 'input', (step) => step.name)
  const graph = [nodes, text(2, 'plan'), initializers, constants, inputs, outputs]
  const model = [
    integer(1, 8),
    text(2, 'resnet'),
    bytes(7, graph),
    bytes(8, [text(1, ''), integer(2, opset)]),
  ]
  writeParts(path, model.flat(Number.POSITIVE_INFINITY))
}

// Values are [H, W, C] without the batch; vectors, 1 x 1 x C, are [N, C] in ONNX.
function nchw([h, w, c]) {
  return h === 1 && w === 1 ? ['N', c] : ['N', c, h, w]
}

function writeParts(path, parts) {
  const file = openSync(path, 'w')
  try {
    for (const part of parts) writeSync(file, part)
  } finally {
    closeSync(file)
  }
}
