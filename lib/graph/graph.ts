import type {
  ActivationStep,
  AddStep,
  AffineStep,
  ConvStep,
  GlobalAvgPoolStep,
  LinearStep,
  PoolStep,
  SoftmaxStep,
  TopKStep,
} from './plan.js'

/**
 * A graph is a list of nodes in execution order. A node is the step that it becomes, with names in place of values: it is
 * named as its step will be, its output is called the same, and it names its inputs: earlier nodes, or an input of the
 * graph. Parameters are names; shapes come with lowering.
 */
type NodeOf<Step, Values extends keyof Step> = Omit<Step, Values> & { input: string }

export type ConvNode = NodeOf<ConvStep, 'input' | 'output' | 'residual'> & { residual?: string }
export type PoolNode = NodeOf<PoolStep, 'input' | 'output'>
export type GlobalAvgPoolNode = NodeOf<GlobalAvgPoolStep, 'input' | 'output'>
export type LinearNode = NodeOf<LinearStep, 'input' | 'output'>
export type AffineNode = NodeOf<AffineStep, 'input' | 'output'>
export type AddNode = NodeOf<AddStep, 'a' | 'b' | 'output'> & { other: string }
export type ActivationNode = NodeOf<ActivationStep, 'input' | 'output'>
export type SoftmaxNode = NodeOf<SoftmaxStep, 'input' | 'output'>
/** Its scores are called as the node is; its indices `indicesOf(name)`. */
export type TopKNode = NodeOf<TopKStep, 'input' | 'scores' | 'indices'>

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
