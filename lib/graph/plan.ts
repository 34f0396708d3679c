/**
 * The plan as it crosses to a backend: JSON text, parsed and validated by `native/core/plan.cc`.
 * Every name here is the name there. Value shapes are per image, [H, W, C]; vectors are [1, 1, C].
 */
export type ValueId = number
export type Pair = readonly [number, number]
export type Activation = 'none' | 'relu'
export type MemoryLayout = 'nchw' | 'nhwc'

export type ValueDType = 'float32' | 'float16' | 'bfloat16'

export interface PlanValue {
  name: string
  /** [H, W, C], per image. */
  shape: readonly [number, number, number]
  /** A step's values have one dtype; what conv and linear write may be float32 instead. int32: indices of topK. */
  dtype: ValueDType | 'int32'
}

/** Names of a batch norm's parameters; `weight` and `bias` may be absent (1 and 0). */
export interface NormNames {
  weight?: string
  bias?: string
  mean: string
  var: string
  eps: number
}

interface StepBase {
  /** For people, errors and explain: 'layer1.0.conv1'. */
  name: string
}
/** y = activation(conv(x, w) · scale + shift + residual); weight [K, C/groups, R, S]. */
export interface ConvStep extends StepBase {
  kind: 'conv'
  input: ValueId
  output: ValueId
  residual?: ValueId
  k: number
  /** [R, S] */
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
export interface PoolStep extends StepBase {
  kind: 'maxPool' | 'avgPool'
  input: ValueId
  output: ValueId
  kernel: Pair
  stride: Pair
  padding: Pair
  /** maxPool only; [1, 1] for avgPool. */
  dilation: Pair
  ceilMode: boolean
  /** avgPool only. */
  countIncludePad?: boolean
}
export interface GlobalAvgPoolStep extends StepBase {
  kind: 'globalAvgPool'
  input: ValueId
  output: ValueId
}
export interface LinearStep extends StepBase {
  kind: 'linear'
  input: ValueId
  output: ValueId
  k: number
  weight: string
  bias?: string
}
export interface AffineStep extends StepBase {
  kind: 'affine'
  input: ValueId
  output: ValueId
  norm: NormNames
  activation: Activation
}
export interface AddStep extends StepBase {
  kind: 'add'
  a: ValueId
  b: ValueId
  output: ValueId
  activation: Activation
}
export interface ActivationStep extends StepBase {
  kind: 'activation'
  input: ValueId
  output: ValueId
  activation: 'relu'
}
export interface SoftmaxStep extends StepBase {
  kind: 'softmax'
  input: ValueId
  output: ValueId
}
export interface TopKStep extends StepBase {
  kind: 'topK'
  input: ValueId
  scores: ValueId
  indices: ValueId
  k: number
}
/** From the caller's memory; uint8 is normalised as (x/255 − mean) / std per channel. */
export interface InputStep extends StepBase {
  kind: 'input'
  output: ValueId
  index: number
  dtype: ValueDType | 'uint8'
  layout: MemoryLayout
  mean?: readonly number[]
  std?: readonly number[]
  /** Every piece is a decoded picture (uint8, 'nhwc'), which the backend resizes and crops to the value's size. */
  resize?: 'bilinear' | 'bicubic'
}
/** To the caller's memory: float32, of int32 values int32. */
export interface OutputStep extends StepBase {
  kind: 'output'
  input: ValueId
  index: number
  layout: MemoryLayout
}
export type PlanStep =
  | ConvStep
  | PoolStep
  | GlobalAvgPoolStep
  | LinearStep
  | AffineStep
  | AddStep
  | ActivationStep
  | SoftmaxStep
  | TopKStep
  | InputStep
  | OutputStep

export interface PlanParameter {
  name: string
  shape: readonly number[]
}

export interface Plan {
  version: 1
  values: PlanValue[]
  steps: PlanStep[]
  parameters: PlanParameter[]
  /** Number of input and output tensors of a submission. */
  inputs: number
  outputs: number
}
