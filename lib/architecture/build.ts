import type { ConvNode, Graph, GraphNode } from '../graph/graph.js'
import { lower } from '../graph/lower.js'
import type { Activation, NormNames, Pair, PlanParameter } from '../graph/plan.js'
import { type Architecture, innerWidth, stageChannels } from './spec.js'

/** Name of the graph's input, of the pooled features and of the logits. */
export const inputName = 'x'
export const pooledName = 'avgpool'
export const logitsName = 'fc'

export interface Network {
  graph: Graph
  /** Stage ('stem', 'layer1', …) → the node whose output it is. */
  stages: ReadonlyMap<string, string>
}

/** The graph of a spec, named as torchvision names it: layer2.0.conv1, layer2.0.downsample.0, fc. */
export function buildNetwork(spec: Architecture): Network {
  const nodes: GraphNode[] = []
  const stages = new Map<string, string>()
  let x = addStem(nodes, spec, stages)
  for (const stage of stagePlans(spec)) {
    for (const block of stage) x = addBlock(nodes, block, x)
    stages.set(`layer${stages.size}`, x)
  }
  nodes.push({ kind: 'globalAvgPool', name: pooledName, input: x })
  if (spec.numClasses > 0) {
    const names = { weight: 'fc.weight', bias: 'fc.bias' }
    nodes.push({ kind: 'linear', name: logitsName, input: pooledName, k: spec.numClasses, ...names })
  }
  return { graph: nodes, stages }
}

/** Every parameter of a spec with its shape, in the graph's order: what a checkpoint must hold. */
export function parametersOf(spec: Architecture): PlanParameter[] {
  const { graph } = buildNetwork(spec)
  const last = graph.at(-1) as GraphNode
  // Shapes of parameters do not depend on the input's size.
  const shape = [64, 64, spec.inChannels] as const
  const inputs = [{ name: inputName, shape, dtype: 'float32', layout: 'nchw' } as const]
  return lower({ graph, inputs, outputs: [{ name: last.name, layout: 'nchw' }] }).plan.parameters
}

function addStem(nodes: GraphNode[], spec: Architecture, stages: Map<string, string>): string {
  const wide = spec.stem === 'imagenet'
  nodes.push(
    conv('conv1', {
      input: inputName,
      k: spec.stemWidth,
      kernel: wide ? 7 : 3,
      stride: wide ? 2 : 1,
      norm: normNames('bn1', spec.normEps),
      activation: 'relu',
    }),
  )
  stages.set('stem', 'conv1')
  if (!wide) return 'conv1'
  nodes.push({
    kind: 'maxPool',
    name: 'maxpool',
    input: 'conv1',
    kernel: [3, 3],
    stride: [2, 2],
    padding: [1, 1],
    dilation: [1, 1],
    ceilMode: false,
  })
  return 'maxpool'
}

/** What one residual block is made of; `ops.basicBlock` and `ops.bottleneck` build theirs from it too. */
export interface BlockPlan {
  /** What its parameters' names begin with: 'layer2.0.', or '' for a block alone. */
  prefix: string
  kind: Architecture['block']
  /** Channels between its convolutions and of its output. */
  inner: number
  out: number
  stride: number
  /** Of its first 3×3 and, in a basic block, of its second. */
  dilation: number
  secondDilation: number
  groups: number
  /** A 1×1 convolution and norm on the shortcut. */
  projection: boolean
  eps: number
}

/** The blocks of every stage, stride or dilation decided (torchvision's replace_stride_with_dilation). */
function stagePlans(spec: Architecture): BlockPlan[][] {
  let stride = spec.stem === 'imagenet' ? 4 : 1
  let dilation = 1
  let channels = spec.stemWidth
  return spec.depths.map((depth, stage) => {
    const natural = stage === 0 ? 1 : 2
    const dilates = stride * natural > spec.outputStride
    // The first block of a stage that dilates still uses the dilation of the stage before.
    const firstDilation = dilation
    if (dilates) dilation *= natural
    else stride *= natural
    const out = stageChannels(spec, stage)
    return Array.from({ length: depth }, (_, index) => {
      const blockStride = index === 0 && !dilates ? natural : 1
      const block: BlockPlan = {
        prefix: `layer${stage + 1}.${index}.`,
        kind: spec.block,
        inner: innerWidth(spec, spec.widths[stage] as number),
        out,
        stride: blockStride,
        dilation: index === 0 ? firstDilation : dilation,
        secondDilation: dilation,
        groups: spec.groups,
        projection: index === 0 && (blockStride !== 1 || channels !== out),
        eps: spec.normEps,
      }
      channels = out
      return block
    })
  })
}

/** Appends a block in the order of the contract (reduce, 3×3, downsample, expand) and returns its output's name. */
export function addBlock(nodes: GraphNode[], block: BlockPlan, input: string): string {
  const { prefix, kind, inner, out, stride, dilation, secondDilation, groups, eps } = block
  const inside = (name: string) => `${prefix}${name}`
  const norm = (index: number) => normNames(inside(`bn${index}`), eps)
  const relu = { activation: 'relu' } as const
  let x = input
  const add = (name: string, options: ConvOptions) => {
    nodes.push(conv(inside(name), options))
    return inside(name)
  }
  if (kind === 'bottleneck') {
    x = add('conv1', { input: x, k: inner, kernel: 1, norm: norm(1), ...relu })
    x = add('conv2', { input: x, k: inner, kernel: 3, stride, dilation, groups, norm: norm(2), ...relu })
  } else {
    x = add('conv1', { input: x, k: inner, kernel: 3, stride, dilation, norm: norm(1), ...relu })
  }
  let residual = input
  if (block.projection) {
    const shortcutNorm = normNames(inside('downsample.1'), eps)
    residual = add('downsample.0', {
      input,
      k: out,
      kernel: 1,
      stride,
      norm: shortcutNorm,
      activation: 'none',
    })
  }
  return kind === 'bottleneck'
    ? add('conv3', { input: x, k: out, kernel: 1, norm: norm(3), residual, ...relu })
    : add('conv2', {
        input: x,
        k: out,
        kernel: 3,
        dilation: secondDilation,
        norm: norm(2),
        residual,
        ...relu,
      })
}

interface ConvOptions {
  input: string
  k: number
  kernel: number
  stride?: number
  dilation?: number
  groups?: number
  norm: NormNames
  residual?: string
  activation: Activation
}

/** A square convolution padded so that stride alone changes the size, with its norm. */
function conv(name: string, options: ConvOptions): ConvNode {
  const { input, k, kernel, stride = 1, dilation = 1, groups = 1, norm, residual, activation } = options
  const square = (size: number): Pair => [size, size]
  return {
    kind: 'conv',
    name,
    input,
    ...(residual === undefined ? {} : { residual }),
    k,
    kernel: square(kernel),
    stride: square(stride),
    padding: square(dilation * ((kernel - 1) / 2)),
    dilation: square(dilation),
    groups,
    weight: `${name}.weight`,
    norm,
    activation,
  }
}

export function normNames(prefix: string, eps: number): NormNames {
  return {
    weight: `${prefix}.weight`,
    bias: `${prefix}.bias`,
    mean: `${prefix}.running_mean`,
    var: `${prefix}.running_var`,
    eps,
  }
}
