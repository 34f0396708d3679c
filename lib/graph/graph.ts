import type { Activation, NormNames, Pair } from './plan.js'

/**
 * A graph is a list of nodes in execution order. A node is named as its step will be, its output is called the same,
 * and it names its inputs: earlier nodes, or an input of the graph. Parameters are names; shapes come with lowering.
 */
interface NodeBase {
  name: string
  input: string
}
/** y = activation(conv(x, w) · scale + shift + residual) */
export interface ConvNode extends NodeBase {
  kind: 'conv'
  residual?: string
  k: number
  kernel: Pair
  stride: Pair
  padding: Pair
  dilation: Pair
  groups: number
  weight: string
  bias?: string
  norm?: NormNames
  activation: Activation
}
export interface PoolNode extends NodeBase {
  kind: 'maxPool' | 'avgPool'
  kernel: Pair
  stride: Pair
  padding: Pair
  dilation: Pair
  ceilMode: boolean
  countIncludePad?: boolean
}
export interface GlobalAvgPoolNode extends NodeBase {
  kind: 'globalAvgPool'
}
export interface LinearNode extends NodeBase {
  kind: 'linear'
  k: number
  weight: string
  bias?: string
}
export interface AffineNode extends NodeBase {
  kind: 'affine'
  norm: NormNames
  activation: Activation
}
export interface AddNode extends NodeBase {
  kind: 'add'
  other: string
  activation: Activation
}
export interface ActivationNode extends NodeBase {
  kind: 'activation'
  activation: 'relu'
}
export interface SoftmaxNode extends NodeBase {
  kind: 'softmax'
}
/** Its scores are called as the node is; its indices `indicesOf(name)`. */
export interface TopKNode extends NodeBase {
  kind: 'topK'
  k: number
}

export type GraphNode =
  | ConvNode
  | PoolNode
  | GlobalAvgPoolNode
  | LinearNode
  | AffineNode
  | AddNode
  | ActivationNode
  | SoftmaxNode
  | TopKNode

export type Graph = readonly GraphNode[]

export const indicesOf = (topK: string): string => `${topK}.indices`

/** Everything that a node reads. */
export function nodeInputs(node: GraphNode): string[] {
  if (node.kind === 'conv' && node.residual !== undefined) return [node.input, node.residual]
  if (node.kind === 'add') return [node.input, node.other]
  return [node.input]
}
