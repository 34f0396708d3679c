import { invalidArgument, ResNetError } from '../errors.js'
import {
  type ConvNode,
  type Graph,
  type GraphNode,
  indicesOf,
  type LinearNode,
  nodeInputs,
  type PoolNode,
} from './graph.js'
import type {
  InputStep,
  MemoryLayout,
  NormNames,
  Pair,
  Plan,
  PlanStep,
  PlanValue,
  ValueDType,
  ValueId,
} from './plan.js'

type Shape = readonly [number, number, number]

/** One tensor that a submission brings: [H, W, C] per image. */
export interface GraphInput {
  name: string
  shape: Shape
  dtype: InputStep['dtype']
  layout: MemoryLayout
  /** Of uint8: (x / 255 − mean) / std per channel. */
  mean?: readonly number[]
  std?: readonly number[]
  /** Pieces are decoded pictures of any size. */
  resize?: InputStep['resize']
}
/** One tensor that a submission gives back: a node's output. */
export interface GraphOutput {
  name: string
  layout: MemoryLayout
}
export interface Lowering {
  graph: Graph
  inputs: readonly GraphInput[]
  outputs: readonly GraphOutput[]
  /** Of the values from the input to the head; what a linear step gives, and all after it, is float32. Default 'float32'. */
  dtype?: ValueDType
}
export interface Lowered {
  plan: Plan
  /** [H, W, C] of each output, in the order asked for. */
  outputShapes: Shape[]
}

/**
 * Writes the part of a graph that leads to `outputs` as a plan for one input size: values with shapes, input and output
 * steps at the borders, the parameters with their shapes.
 * @throws ERR_RESNET_INVALID_ARGUMENT naming the layer that does not admit the size.
 */
export function lower({ graph, inputs, outputs, dtype = 'float32' }: Lowering): Lowered {
  const writer = new PlanWriter(dtype)
  for (const [index, input] of inputs.entries()) writer.input(input, index)
  for (const node of needed(graph, outputs)) writer.node(node)
  const outputShapes = outputs.map((output, index) => writer.output(output, index))
  return { plan: writer.finish(inputs.length, outputs.length), outputShapes }
}

/** The nodes that the outputs depend on, in the graph's order. */
function needed(graph: Graph, outputs: readonly GraphOutput[]): GraphNode[] {
  const wanted = new Set(outputs.map(({ name }) => name))
  const kept: GraphNode[] = []
  for (const node of [...graph].reverse()) {
    if (!wanted.has(node.name) && !(node.kind === 'topK' && wanted.has(indicesOf(node.name)))) continue
    kept.push(node)
    for (const name of nodeInputs(node)) wanted.add(name)
  }
  return kept.reverse()
}

/** Collects values, steps and parameters; a node's shape follows from its inputs'. */
class PlanWriter {
  private readonly plan: Plan = { version: 1, values: [], steps: [], parameters: [], inputs: 0, outputs: 0 }
  private readonly ids = new Map<string, ValueId>()
  private readonly parameters = new Map<string, readonly number[]>()

  constructor(private readonly dtype: ValueDType) {}

  input({ name, shape, dtype, layout, mean, std, resize }: GraphInput, index: number): void {
    const normalisation = dtype === 'uint8' && mean && std ? { mean, std } : {}
    this.plan.steps.push({
      kind: 'input',
      name: `input.${name}`,
      output: this.define(name, shape, this.dtype),
      index,
      dtype,
      layout,
      ...normalisation,
      ...(resize === undefined ? {} : { resize }),
    })
  }

  output({ name, layout }: GraphOutput, index: number): Shape {
    this.plan.steps.push({ kind: 'output', name: `output.${name}`, input: this.id(name), index, layout })
    return this.shape(name)
  }

  node(node: GraphNode): void {
    this.plan.steps.push(this.stepOf(node))
  }

  finish(inputs: number, outputs: number): Plan {
    const parameters = [...this.parameters].map(([name, shape]) => ({ name, shape }))
    return { ...this.plan, parameters, inputs, outputs }
  }

  private stepOf(node: GraphNode): PlanStep {
    const input = this.id(node.input)
    const [h, w, c] = this.shape(node.input)
    const one = (shape: Shape) => this.define(node.name, shape, this.dtypeOf(node.input))
    switch (node.kind) {
      case 'conv':
        return this.conv(node)
      case 'maxPool':
      case 'avgPool': {
        const { input: _, ...step } = node
        return { ...step, input, output: one([...windowSize(node, h, w), c]) }
      }
      case 'globalAvgPool':
        return { kind: node.kind, name: node.name, input, output: one([1, 1, c]) }
      case 'linear':
        return this.linear(node)
      case 'affine':
        this.norm(node.norm, c)
        return { ...node, input, output: one([h, w, c]) }
      case 'add': {
        this.sameShape(node, node.input, node.other)
        const { name, activation } = node
        return {
          kind: 'add',
          name,
          a: input,
          b: this.id(node.other),
          output: one([h, w, c]),
          activation,
        }
      }
      case 'activation':
      case 'softmax':
        return { ...node, input, output: one([h, w, c]) }
      case 'topK': {
        if (node.k > c) {
          throw invalidArgument(
            `${node.name}: expected k to be at most ${c}, the number of scores, received ${node.k}`,
          )
        }
        const scores = one([1, 1, node.k])
        const indices = this.define(indicesOf(node.name), [1, 1, node.k], 'int32')
        return { kind: 'topK', name: node.name, input, scores, indices, k: node.k }
      }
    }
  }

  private conv(node: ConvNode): PlanStep {
    const { name, k, kernel, groups, weight, bias, norm, residual } = node
    const [h, w, c] = this.shape(node.input)
    if (c % groups !== 0 || k % groups !== 0) {
      throw invalidArgument(
        `${name}: expected groups to divide the input's ${c} and the output's ${k} channels, received ${groups}`,
      )
    }
    this.parameter(weight, [k, c / groups, ...kernel])
    if (bias !== undefined) this.parameter(bias, [k])
    if (norm !== undefined) this.norm(norm, k)
    const output = this.define(name, [...windowSize(node, h, w), k], this.dtypeOf(node.input))
    const step: PlanStep = { ...node, input: this.id(node.input), output, residual: undefined }
    if (residual !== undefined) {
      this.sameShape(node, name, residual)
      step.residual = this.id(residual)
    }
    return step
  }

  private linear({ kind, name, input, k, weight, bias }: LinearNode): PlanStep {
    const [h, w, c] = this.shape(input)
    if (h !== 1 || w !== 1) throw invalidArgument(`${name}: expected a vector, received ${h}×${w}×${c}`)
    this.parameter(weight, [k, c])
    if (bias !== undefined) this.parameter(bias, [k])
    const names = bias === undefined ? { weight } : { weight, bias }
    return { kind, name, input: this.id(input), output: this.define(name, [1, 1, k], 'float32'), k, ...names }
  }

  private norm({ weight, bias, mean, var: variance }: NormNames, channels: number): void {
    for (const name of [weight, bias, mean, variance])
      if (name !== undefined) this.parameter(name, [channels])
  }

  private sameShape({ name }: GraphNode, left: string, right: string): void {
    const [a, b] = [this.shape(left).join('×'), this.shape(right).join('×')]
    if (a !== b)
      throw invalidArgument(`${name}: expected two inputs of one shape, received ${a} and ${b} (H×W×C)`)
  }

  private parameter(name: string, shape: readonly number[]): void {
    const known = this.parameters.get(name)
    if (known !== undefined && known.join() !== shape.join()) {
      throw new ResNetError(
        'ERR_RESNET_INTERNAL',
        `parameter ${name} is used as [${known}] and as [${shape}]`,
      )
    }
    this.parameters.set(name, shape)
  }

  private define(name: string, shape: Shape, dtype: PlanValue['dtype']): ValueId {
    if (this.ids.has(name))
      throw new ResNetError('ERR_RESNET_INTERNAL', `two values of the graph are called '${name}'`)
    const id = this.plan.values.length
    this.plan.values.push({ name, shape, dtype })
    this.ids.set(name, id)
    return id
  }

  private id(name: string): ValueId {
    const id = this.ids.get(name)
    if (id === undefined) throw new ResNetError('ERR_RESNET_INTERNAL', `the graph has no value '${name}' yet`)
    return id
  }

  private dtypeOf(name: string): PlanValue['dtype'] {
    return (this.plan.values[this.id(name)] as PlanValue).dtype
  }

  private shape(name: string): Shape {
    return (this.plan.values[this.id(name)] as { shape: Shape }).shape
  }
}

type Window = ConvNode | PoolNode

/** Output height and width of a convolution or pool; PyTorch's formula. */
function windowSize(node: Window, h: number, w: number): [number, number] {
  return [axisSize(node, 0, h), axisSize(node, 1, w)]
}

function axisSize(node: Window, axis: 0 | 1, size: number): number {
  const at = (pairOf: Pair) => pairOf[axis]
  const [kernel, stride, padding, dilation] = [node.kernel, node.stride, node.padding, node.dilation].map(
    at,
  ) as [number, number, number, number]
  const span = dilation * (kernel - 1) + 1
  const room = size + 2 * padding - span
  if (room < 0) {
    const side = axis === 0 ? 'height' : 'width'
    throw invalidArgument(
      `${node.name}: expected an input ${side} of at least ${span - 2 * padding} (kernel ${kernel}, dilation ` +
        `${dilation}, padding ${padding}), received ${size}`,
    )
  }
  const ceil = node.kind !== 'conv' && node.ceilMode
  const out = (ceil ? Math.ceil(room / stride) : Math.floor(room / stride)) + 1
  // The last window of a ceiling must start inside the input or its left padding.
  return ceil && (out - 1) * stride >= size + padding ? out - 1 : out
}
