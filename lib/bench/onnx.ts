/**
 * A plan and its weights as an ONNX file: every step becomes the operators that it fuses, under the checkpoint's names.
 *
 * The protobuf wire format needs two kinds of field here, varints and length-delimited bytes, so it is written by hand.
 * Field numbers: onnx.proto of the ONNX repository; operators as in opset 17.
 */
import { closeSync, openSync, writeSync } from 'node:fs'
import { buildNetwork, inputName, logitsName } from '../architecture/build.js'
import type { Architecture } from '../architecture/spec.js'
import { lower } from '../graph/lower.js'
import type { NormNames, Plan, PlanStep, PoolStep, ValueId } from '../graph/plan.js'

const opset = 17
const elementType = { float32: 1, int64: 7 } as const
type ElementType = keyof typeof elementType
/** Bytes in pieces, so that weights are not copied together. */
type Parts = Buffer | Parts[]

function varint(value: number | bigint): Buffer {
  const bytes: number[] = []
  let rest = BigInt.asUintN(64, BigInt(value))
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128)
    rest >>= 7n
  }
  bytes.push(Number(rest))
  return Buffer.from(bytes)
}

function flat(parts: Parts): Buffer[] {
  return Buffer.isBuffer(parts) ? [parts] : parts.flatMap(flat)
}

const integer = (field: number, value: number | bigint): Parts => [varint(field << 3), varint(value)]
const bytes = (field: number, parts: Parts): Parts => {
  const list = flat(parts)
  const length = list.reduce((sum, part) => sum + part.length, 0)
  return [varint((field << 3) | 2), varint(length), ...list]
}
const text = (field: number, value: string) => bytes(field, Buffer.from(value))
const float = (field: number, value: number): Parts => {
  const word = Buffer.alloc(4)
  word.writeFloatLE(value)
  return [varint((field << 3) | 5), word]
}

type Attribute = number | readonly number[] | { float: number }

function attribute(name: string, value: Attribute): Parts {
  const head = text(1, name)
  if (typeof value === 'number') return bytes(5, [head, integer(3, value), integer(20, 2)])
  if ('float' in value) return bytes(5, [head, float(2, value.float), integer(20, 1)])
  return bytes(5, [head, value.map((item) => integer(8, item)), integer(20, 7)])
}

interface Operator {
  op: string
  name: string
  inputs: readonly string[]
  outputs: readonly string[]
  attributes?: Record<string, Attribute>
}

function node({ op, name, inputs, outputs, attributes = {} }: Operator): Parts {
  const rows = Object.entries(attributes).map(([key, value]) => attribute(key, value))
  const io = [inputs.map((input) => text(1, input)), outputs.map((output) => text(2, output))]
  return bytes(1, [...io, text(3, name), text(4, op), rows])
}

function tensor(
  name: string,
  shape: readonly number[],
  data: Float32Array | BigInt64Array,
  type: ElementType = 'float32',
): Parts {
  const raw = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  return bytes(5, [
    shape.map((size) => integer(1, size)),
    integer(2, elementType[type]),
    text(8, name),
    bytes(9, raw),
  ])
}

interface Border {
  /** Of the graph's message: its inputs or its outputs. */
  field: 11 | 12
  name: string
  /** A name among the sizes is a size that the caller decides. */
  shape: readonly (number | string)[]
  type: ElementType
}

function valueInfo({ field, name, shape, type }: Border): Parts {
  const dims = shape.map((size) => bytes(1, typeof size === 'string' ? text(2, size) : integer(1, size)))
  return bytes(field, [text(1, name), bytes(2, bytes(1, [integer(1, elementType[type]), bytes(2, dims)]))])
}

interface Context {
  /** Names a value. */
  v(id: ValueId): string
  shape(id: ValueId): readonly [number, number, number]
  /** Adds an initializer and gives its name. */
  constant(
    name: string,
    shape: readonly number[],
    data: Float32Array | BigInt64Array,
    type?: ElementType,
  ): string
  norm(call: { name: string; input: string; output: string; names: NormNames; channels: number }): Parts
}

type StepOf<K extends PlanStep['kind']> = K extends PoolStep['kind']
  ? PoolStep
  : Extract<PlanStep, { kind: K }>
type Writers = { [K in PlanStep['kind']]: (step: StepOf<K>, context: Context) => Parts[] }

/** The operators of one step. */
const writers: Writers = {
  conv(step, { v, norm }) {
    const relu = step.activation === 'relu'
    const stages = [
      'conv',
      ...(step.norm ? ['norm'] : []),
      ...(step.residual === undefined ? [] : ['add']),
      ...(relu ? ['relu'] : []),
    ]
    const name = (stage: string) => (stage === stages.at(-1) ? v(step.output) : `${step.name}/${stage}`)
    const { kernel, stride, padding, dilation, groups } = step
    const inputs = [v(step.input), step.weight, ...(step.bias === undefined ? [] : [step.bias])]
    const attributes = { ...windowOf({ kernel, stride, padding }), dilations: dilation, group: groups }
    const nodes = [node({ op: 'Conv', name: step.name, inputs, outputs: [name('conv')], attributes })]
    let last = name('conv')
    if (step.norm) {
      const output = name('norm')
      nodes.push(norm({ name: `${step.name}/norm`, input: last, output, names: step.norm, channels: step.k }))
      last = output
    }
    if (step.residual !== undefined) {
      const added = [last, v(step.residual)]
      nodes.push(node({ op: 'Add', name: `${step.name}/add`, inputs: added, outputs: [name('add')] }))
      last = name('add')
    }
    if (relu) {
      nodes.push(node({ op: 'Relu', name: `${step.name}/relu`, inputs: [last], outputs: [name('relu')] }))
    }
    return nodes
  },
  maxPool: (step, context) => pool('MaxPool', step, context, { dilations: step.dilation }),
  avgPool: (step, context) =>
    pool('AveragePool', step, context, { count_include_pad: step.countIncludePad === false ? 0 : 1 }),
  globalAvgPool: ({ name, input, output }, { v }) => [
    node({ op: 'GlobalAveragePool', name, inputs: [v(input)], outputs: [`${name}/map`] }),
    node({
      op: 'Flatten',
      name: `${name}/flatten`,
      inputs: [`${name}/map`],
      outputs: [v(output)],
      attributes: { axis: 1 },
    }),
  ],
  linear: ({ name, input, output, weight, bias }, { v }) => {
    const inputs = [v(input), weight, ...(bias === undefined ? [] : [bias])]
    return [node({ op: 'Gemm', name, inputs, outputs: [v(output)], attributes: { transB: 1 } })]
  },
  affine(step, { v, norm, shape }) {
    const relu = step.activation === 'relu'
    const output = relu ? `${step.name}/norm` : v(step.output)
    const channels = shape(step.output)[2]
    const nodes = [norm({ name: step.name, input: v(step.input), output, names: step.norm, channels })]
    return relu ? [...nodes, reluOf(step.name, output, v(step.output))] : nodes
  },
  add(step, { v }) {
    const relu = step.activation === 'relu'
    const sum = relu ? `${step.name}/sum` : v(step.output)
    const nodes = [node({ op: 'Add', name: step.name, inputs: [v(step.a), v(step.b)], outputs: [sum] })]
    return relu ? [...nodes, reluOf(step.name, sum, v(step.output))] : nodes
  },
  activation: ({ name, input, output }, { v }) => [
    node({ op: 'Relu', name, inputs: [v(input)], outputs: [v(output)] }),
  ],
  softmax: ({ name, input, output }, { v }) => [
    node({ op: 'Softmax', name, inputs: [v(input)], outputs: [v(output)], attributes: { axis: 1 } }),
  ],
  topK: ({ name, input, scores, indices, k }, { v, constant }) => {
    const count = constant(`${name}/k`, [1], BigInt64Array.of(BigInt(k)), 'int64')
    const outputs = [v(scores), v(indices)]
    return [node({ op: 'TopK', name, inputs: [v(input), count], outputs, attributes: { axis: 1 } })]
  },
  input(step) {
    if (step.dtype === 'float32' && step.layout === 'nchw') return []
    throw new Error(
      `${step.name}: only float32 NCHW inputs are exported, received ${step.dtype} ${step.layout}`,
    )
  },
  output({ name, input, layout }, { v }) {
    if (layout === 'nchw') return [node({ op: 'Identity', name, inputs: [v(input)], outputs: [name] })]
    throw new Error(`${name}: only NCHW outputs are exported, received ${layout}`)
  },
}

function reluOf(name: string, input: string, output: string): Parts {
  return node({ op: 'Relu', name: `${name}/relu`, inputs: [input], outputs: [output] })
}

function windowOf({ kernel, stride, padding }: Pick<PoolStep, 'kernel' | 'stride' | 'padding'>) {
  return { kernel_shape: kernel, strides: stride, pads: [...padding, ...padding] }
}

function pool(op: string, step: PoolStep, { v }: Context, more: Record<string, Attribute>): Parts[] {
  const attributes = { ...windowOf(step), ceil_mode: step.ceilMode ? 1 : 0, ...more }
  return [node({ op, name: step.name, inputs: [v(step.input)], outputs: [v(step.output)], attributes })]
}

/** The plan that gives logits for float32 NCHW images of one size. */
export function logitsPlan(spec: Architecture, { height, width }: { height: number; width: number }): Plan {
  const { graph } = buildNetwork(spec)
  const inputs = [
    { name: inputName, shape: [height, width, spec.inChannels], dtype: 'float32', layout: 'nchw' } as const,
  ]
  return lower({ graph, inputs, outputs: [{ name: logitsName, layout: 'nchw' }] }).plan
}

/**
 * Writes `plan` as ONNX, the batch size left open as 'N'.
 * @param file to write
 * @param read gives a parameter
 */
export function writeOnnx(file: string, plan: Plan, read: (name: string) => Float32Array): void {
  const constants: Parts[] = []
  const context: Context = {
    v: (id) => valueAt(plan, id).name,
    shape: (id) => valueAt(plan, id).shape,
    constant(name, shape, data, type) {
      constants.push(tensor(name, shape, data, type))
      return name
    },
    norm({ name, input, output, names, channels }) {
      const { weight, bias, mean, var: variance, eps } = names
      const scale = weight ?? context.constant(`${name}/one`, [channels], new Float32Array(channels).fill(1))
      const shift = bias ?? context.constant(`${name}/zero`, [channels], new Float32Array(channels))
      return node({
        op: 'BatchNormalization',
        name,
        inputs: [input, scale, shift, mean, variance],
        outputs: [output],
        attributes: { epsilon: { float: eps } },
      })
    },
  }
  const nodes = plan.steps.map((step) => (writers[step.kind] as Writers['conv'])(step as never, context))
  const initializers = plan.parameters.map(({ name, shape }) => tensor(name, shape, read(name)))
  const graph = [...nodes, text(2, 'plan'), ...initializers, ...constants, ...bordersOf(plan)]
  const model = [
    integer(1, 8),
    text(2, 'resnet'),
    bytes(7, graph),
    bytes(8, [text(1, ''), integer(2, opset)]),
  ]
  writeParts(file, flat(model))
}

/** What goes into the graph, then what comes out of it. */
function bordersOf(plan: Plan): Parts[] {
  const border = (field: Border['field'], name: string, id: ValueId) => {
    const { shape, dtype } = valueAt(plan, id)
    return valueInfo({ field, name, shape: nchw(shape), type: dtype === 'int32' ? 'int64' : 'float32' })
  }
  const inputs = plan.steps.flatMap((step) =>
    step.kind === 'input' ? [border(11, valueAt(plan, step.output).name, step.output)] : [],
  )
  const outputs = plan.steps.flatMap((step) =>
    step.kind === 'output' ? [border(12, step.name, step.input)] : [],
  )
  return [...inputs, ...outputs]
}

function valueAt(plan: Plan, id: ValueId): Plan['values'][number] {
  return plan.values[id] as Plan['values'][number]
}

/** Values are [H, W, C] without the batch; vectors, 1 x 1 x C, are [N, C] in ONNX. */
function nchw([h, w, c]: readonly [number, number, number]): (number | string)[] {
  return h === 1 && w === 1 ? ['N', c] : ['N', c, h, w]
}

function writeParts(file: string, parts: readonly Buffer[]): void {
  const handle = openSync(file, 'w')
  try {
    for (const part of parts) writeSync(handle, part)
  } finally {
    closeSync(handle)
  }
}
