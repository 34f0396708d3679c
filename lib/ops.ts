import { addBlock, type BlockPlan } from './architecture/build.js'
import { type Operation, type Parameters, runEager } from './eager.js'
import { invalidArgument } from './errors.js'
import { type GraphNode, indicesOf } from './graph/graph.js'
import type { NormNames, Pair } from './graph/plan.js'
import * as option from './options.js'
import { adopted, type Float32Tensor, Tensor } from './tensor.js'

/** One number for both axes, or [vertical, horizontal]. */
export type Size = number | readonly [number, number]

export interface OpOptions {
  signal?: AbortSignal
}
export interface Conv2dOptions extends OpOptions {
  /** [K] */
  bias?: Tensor
  /** Default 1. */
  stride?: Size
  /** Zeros on both sides. Default 0. */
  padding?: Size
  /** Default 1. */
  dilation?: Size
  /** Default 1. */
  groups?: number
}
export interface MaxPool2dOptions extends OpOptions {
  kernel: Size
  /** Default: the kernel. */
  stride?: Size
  /** At most half of the kernel. Default 0. */
  padding?: Size
  /** Default 1. */
  dilation?: Size
  /** Whether a last window that begins inside may hang over. Default false. */
  ceilMode?: boolean
}
export interface AvgPool2dOptions extends OpOptions {
  kernel: Size
  /** Default: the kernel. */
  stride?: Size
  /** At most half of the kernel. Default 0. */
  padding?: Size
  ceilMode?: boolean
  /** Whether the padding's zeros count in the average. Default true. */
  countIncludePad?: boolean
}
export interface BatchNormOptions extends OpOptions {
  /** Default 1e-5. */
  eps?: number
}
export interface BasicBlockOptions extends BatchNormOptions {
  /** Of the first 3×3 and the shortcut. Default 1. */
  stride?: number
  /** Of both 3×3. Default 1. */
  dilation?: number
}
export interface BottleneckOptions extends BasicBlockOptions {
  /** Of the 3×3. Default 1. */
  groups?: number
}

const count = option.integer(1, 65_536)
const size = option.pair(1, 65_536)
const padding = option.defaulting(option.pair(0, 65_536), 0)
const eps = option.defaulting(
  option.value<number>('a number of at least 0', (value) => Number.isFinite(value) && Number(value) >= 0),
  1e-5,
)
const tensor = option.value<Tensor>('a Tensor', (value) => value instanceof Tensor)
const opTable = { signal: option.signal }
const convTable = {
  ...opTable,
  bias: tensor,
  stride: option.defaulting(size, 1),
  padding,
  dilation: option.defaulting(size, 1),
  groups: option.defaulting(count, 1),
}
const poolTable = {
  ...opTable,
  kernel: size,
  stride: size,
  padding,
  ceilMode: option.defaulting(option.boolean, false),
}
const maxPoolTable = { ...poolTable, dilation: option.defaulting(size, 1) }
const avgPoolTable = { ...poolTable, countIncludePad: option.defaulting(option.boolean, true) }
const normTable = { ...opTable, eps }
const basicTable = {
  ...normTable,
  stride: option.defaulting(count, 1),
  dilation: option.defaulting(count, 1),
}
const bottleneckTable = { ...basicTable, groups: option.defaulting(count, 1) }

/**
 * 2-D cross-correlation: torch.nn.functional.conv2d.
 * @param x [N, C, H, W]
 * @param weight [K, C/groups, R, S]
 * @returns [N, K, P, Q] in the layout of x.
 * @throws ERR_RESNET_INVALID_ARGUMENT for options and shapes that do not fit; the signal's reason.
 * @example
 * const y = await ops.conv2d(x, weight, { stride: 2, padding: 1 })
 */
export async function conv2d(x: Tensor, weight: Tensor, options?: Conv2dOptions): Promise<Float32Tensor> {
  const { signal, bias, ...given } = option.readOptions('conv2d', convTable, options)
  const [k, , r, s] = dimensions('conv2d', 'weight', weight, 4) as [number, number, number, number]
  dimensions('conv2d', 'x', x, 4)
  const { groups } = given
  return one({
    name: 'conv2d',
    inputs: { x },
    parameters: { weight, bias },
    options: given,
    signal,
    graph: () => [
      {
        kind: 'conv',
        name: 'conv2d',
        input: 'x',
        k,
        kernel: [r, s],
        stride: pair(given.stride),
        padding: pair(given.padding),
        dilation: pair(given.dilation),
        groups,
        weight: 'weight',
        ...(bias === undefined ? {} : { bias: 'bias' }),
        activation: 'none',
      },
    ],
  })
}

/**
 * Batch norm with fixed statistics: (x − running_mean) / √(running_var + eps) · weight + bias per channel.
 * @param x [N, C, H, W] or [N, C]
 * @param parameters Each [C]; `weight` and `bias` may be left out.
 * @throws ERR_RESNET_INVALID_ARGUMENT; the signal's reason.
 * @example
 * const y = await ops.batchNorm(x, { running_mean, running_var, weight, bias })
 */
export async function batchNorm(
  x: Tensor,
  parameters: { running_mean: Tensor; running_var: Tensor; weight?: Tensor; bias?: Tensor },
  options?: BatchNormOptions,
): Promise<Float32Tensor> {
  const { signal, eps } = option.readOptions('batchNorm', normTable, options)
  const given = parametersOf('batchNorm', parameters)
  const norm: NormNames = {
    ...(given.weight === undefined ? {} : { weight: 'weight' }),
    ...(given.bias === undefined ? {} : { bias: 'bias' }),
    mean: 'running_mean',
    var: 'running_var',
    eps,
  }
  return one({
    name: 'batchNorm',
    inputs: { x },
    parameters: given,
    options: { eps },
    signal,
    graph: () => [{ kind: 'affine', name: 'batchNorm', input: 'x', norm, activation: 'none' }],
  })
}

/**
 * max(x, 0), NaN staying NaN.
 * @param x [N, C, H, W] or [N, D]
 * @throws ERR_RESNET_INVALID_ARGUMENT; the signal's reason.
 * @example
 * const y = await ops.relu(x)
 */
export async function relu(x: Tensor, options?: OpOptions): Promise<Float32Tensor> {
  const { signal } = option.readOptions('relu', opTable, options)
  return one({
    name: 'relu',
    inputs: { x },
    parameters: {},
    options: {},
    signal,
    graph: () => [{ kind: 'activation', name: 'relu', input: 'x', activation: 'relu' }],
  })
}

/**
 * x + y, both of one shape.
 * @returns In the layout of x.
 * @throws ERR_RESNET_INVALID_ARGUMENT; the signal's reason.
 * @example
 * const sum = await ops.add(x, y)
 */
export async function add(x: Tensor, y: Tensor, options?: OpOptions): Promise<Float32Tensor> {
  const { signal } = option.readOptions('add', opTable, options)
  return one({
    name: 'add',
    inputs: { x, y },
    parameters: {},
    options: {},
    signal,
    graph: () => [{ kind: 'add', name: 'add', input: 'x', other: 'y', activation: 'none' }],
  })
}

/**
 * The largest value of each window; padding never wins. torch.nn.functional.max_pool2d.
 * @param x [N, C, H, W]
 * @throws ERR_RESNET_INVALID_ARGUMENT; the signal's reason.
 * @example
 * const y = await ops.maxPool2d(x, { kernel: 3, stride: 2, padding: 1 })
 */
export async function maxPool2d(x: Tensor, options: MaxPool2dOptions): Promise<Float32Tensor> {
  const given = option.readOptions('maxPool2d', maxPoolTable, options)
  return pool('maxPool2d', x, { ...given, kind: 'maxPool', dilation: pair(given.dilation) })
}

/**
 * The average of each window. torch.nn.functional.avg_pool2d.
 * @param x [N, C, H, W]
 * @throws ERR_RESNET_INVALID_ARGUMENT; the signal's reason.
 * @example
 * const y = await ops.avgPool2d(x, { kernel: 2 })
 */
export async function avgPool2d(x: Tensor, options: AvgPool2dOptions): Promise<Float32Tensor> {
  const given = option.readOptions('avgPool2d', avgPoolTable, options)
  return pool('avgPool2d', x, { ...given, kind: 'avgPool', dilation: [1, 1] })
}

/**
 * The average over height and width.
 * @param x [N, C, H, W]
 * @returns [N, C]
 * @throws ERR_RESNET_INVALID_ARGUMENT; the signal's reason.
 * @example
 * const features = await ops.globalAvgPool2d(x)
 */
export async function globalAvgPool2d(x: Tensor, options?: OpOptions): Promise<Float32Tensor> {
  const { signal } = option.readOptions('globalAvgPool2d', opTable, options)
  const [images, channels] = dimensions('globalAvgPool2d', 'x', x, 4) as [number, number]
  const y = await one({
    name: 'globalAvgPool2d',
    inputs: { x },
    parameters: {},
    options: {},
    signal,
    graph: () => [{ kind: 'globalAvgPool', name: 'globalAvgPool2d', input: 'x' }],
  })
  return adopted(y.data, [images, channels], 'nchw') as Float32Tensor
}

/**
 * x · weightᵀ + bias. torch.nn.functional.linear.
 * @param x [N, C]
 * @param weight [K, C]
 * @returns [N, K]
 * @throws ERR_RESNET_INVALID_ARGUMENT; the signal's reason.
 * @example
 * const logits = await ops.linear(features, weight, { bias })
 */
export async function linear(
  x: Tensor,
  weight: Tensor,
  options?: OpOptions & { bias?: Tensor },
): Promise<Float32Tensor> {
  const { signal, bias } = option.readOptions('linear', { ...opTable, bias: tensor }, options)
  const [k] = dimensions('linear', 'weight', weight, 2) as [number]
  dimensions('linear', 'x', x, 2)
  const names = bias === undefined ? { weight: 'weight' } : { weight: 'weight', bias: 'bias' }
  return one({
    name: 'linear',
    inputs: { x },
    parameters: { weight, bias },
    options: {},
    signal,
    graph: () => [{ kind: 'linear', name: 'linear', input: 'x', k, ...names }],
  })
}

/**
 * exp(x) / Σ exp(x) over the last dimension.
 * @param x [N, D]
 * @throws ERR_RESNET_INVALID_ARGUMENT; the signal's reason.
 * @example
 * const scores = await ops.softmax(logits)
 */
export async function softmax(x: Tensor, options?: OpOptions): Promise<Float32Tensor> {
  const { signal } = option.readOptions('softmax', opTable, options)
  dimensions('softmax', 'x', x, 2)
  return one({
    name: 'softmax',
    inputs: { x },
    parameters: {},
    options: {},
    signal,
    graph: () => [{ kind: 'softmax', name: 'softmax', input: 'x' }],
  })
}

/**
 * The k largest of the last dimension, largest first; of equals the lower index.
 * @param x [N, D]
 * @returns `scores` float32 and `indices` int32, both [N, k].
 * @throws ERR_RESNET_INVALID_ARGUMENT; the signal's reason.
 * @example
 * const { scores, indices } = await ops.topK(logits, { k: 5 })
 */
export async function topK(
  x: Tensor,
  options: OpOptions & { k: number },
): Promise<{ scores: Float32Tensor; indices: Tensor }> {
  const table = { ...opTable, k: option.integer(1, 1_000_000) }
  const { signal, ...given } = option.readOptions('topK', table, options)
  const k = option.check('topK', 'k', table.k, given.k)
  dimensions('topK', 'x', x, 2)
  const [scores, indices] = await runEager({
    name: 'topK',
    options: { k },
    inputs: { x },
    parameters: {},
    graph: () => [{ kind: 'topK', name: 'topK', input: 'x', k }],
    outputs: ['topK', indicesOf('topK')],
    signal,
  })
  return { scores: scores as Float32Tensor, indices: indices as Tensor }
}

/**
 * The residual block of resnet18 and 34: two 3×3, each with its norm, plus the input or its projection, then relu.
 * @param x [N, C, H, W]
 * @param parameters torchvision's names: conv1.weight, bn1.*, conv2.weight, bn2.*, and downsample.0.weight and
 * downsample.1.* where the shape changes.
 * @throws ERR_RESNET_INVALID_ARGUMENT; the signal's reason.
 * @example
 * const y = await ops.basicBlock(x, parameters, { stride: 2 })
 */
export async function basicBlock(
  x: Tensor,
  parameters: Parameters,
  options?: BasicBlockOptions,
): Promise<Float32Tensor> {
  const given = option.readOptions('basicBlock', basicTable, options)
  return block(x, parameters, { ...given, name: 'basicBlock', kind: 'basic', groups: 1, last: 'conv2' })
}

/**
 * The residual block of resnet50 and deeper: 1×1, 3×3 (with the stride), 1×1, each with its norm, plus the input or its
 * projection, then relu.
 * @param x [N, C, H, W]
 * @param parameters torchvision's names: conv1.weight, bn1.*, … conv3.weight, bn3.*, and downsample.0.weight and
 * downsample.1.* where the shape changes.
 * @throws ERR_RESNET_INVALID_ARGUMENT; the signal's reason.
 * @example
 * const y = await ops.bottleneck(x, parameters, { stride: 2 })
 */
export async function bottleneck(
  x: Tensor,
  parameters: Parameters,
  options?: BottleneckOptions,
): Promise<Float32Tensor> {
  const given = option.readOptions('bottleneck', bottleneckTable, options)
  return block(x, parameters, { ...given, name: 'bottleneck', kind: 'bottleneck', last: 'conv3' })
}

interface BlockOptions extends OpOptions {
  name: string
  kind: BlockPlan['kind']
  last: 'conv2' | 'conv3'
  stride: number
  dilation: number
  groups: number
  eps: number
}

async function block(x: Tensor, parameters: Parameters, options: BlockOptions): Promise<Float32Tensor> {
  const { name, kind, last, stride, dilation, groups, eps, signal } = options
  const given = parametersOf(name, parameters)
  const [, channels] = dimensions(name, 'x', x, 4) as [number, number]
  const [inner] = dimensions(name, 'conv1.weight', given['conv1.weight'], 4) as [number]
  const [out] = dimensions(name, `${last}.weight`, given[`${last}.weight`], 4) as [number]
  const projection = given['downsample.0.weight'] !== undefined
  if (!projection && (stride !== 1 || channels !== out)) {
    throw invalidArgument(
      `${name}: expected downsample.0.weight and downsample.1.*, since the block changes the shape (stride ${stride}, ` +
        `${channels} to ${out} channels), received none`,
    )
  }
  const plan: BlockPlan = {
    prefix: '',
    kind,
    inner,
    out,
    stride,
    dilation,
    secondDilation: dilation,
    groups,
    projection,
    eps,
  }
  return one({
    name,
    inputs: { x },
    parameters: given,
    options: { stride, dilation, groups, eps },
    signal,
    graph: () => {
      const nodes: GraphNode[] = []
      addBlock(nodes, plan, 'x')
      return nodes
    },
  })
}

interface PoolOptions {
  kind: 'maxPool' | 'avgPool'
  kernel: Size | undefined
  stride: Size | undefined
  padding: Size
  dilation: Pair
  ceilMode: boolean
  countIncludePad?: boolean
  signal: AbortSignal | undefined
}

async function pool(name: string, x: Tensor, { signal, ...given }: PoolOptions): Promise<Float32Tensor> {
  dimensions(name, 'x', x, 4)
  const kernel = pair(option.check(name, 'kernel', poolTable.kernel, given.kernel))
  const padding = pair(given.padding)
  if (kernel.some((length, axis) => (padding[axis] as number) > length / 2)) {
    throw invalidArgument(
      `${name}: expected padding of at most half the kernel [${kernel.join(', ')}], received [${padding.join(', ')}]`,
    )
  }
  const node = { ...given, name, input: 'x', kernel, stride: pair(given.stride ?? kernel), padding }
  return one({
    name,
    inputs: { x },
    parameters: {},
    options: given as unknown as Record<string, unknown>,
    signal,
    graph: () => [node],
  })
}

async function one(operation: Operation): Promise<Float32Tensor> {
  const [y] = await runEager(operation)
  return y as Float32Tensor
}

function parametersOf(name: string, parameters: unknown): Parameters {
  if (typeof parameters === 'object' && parameters !== null && !(parameters instanceof Tensor)) {
    return parameters as Parameters
  }
  throw invalidArgument(
    `${name}: expected parameters to be an object of Tensors by name, received ${option.describe(parameters)}`,
  )
}

function dimensions(name: string, label: string, given: unknown, rank: number): readonly number[] {
  const received = option.check(name, label, tensor, given)
  if (received.shape.length === rank) return received.shape
  throw invalidArgument(
    `${name}: expected ${label} to have ${rank} dimensions, received [${received.shape.join(', ')}]`,
  )
}

function pair(given: Size): Pair {
  return typeof given === 'number' ? [given, given] : given
}
