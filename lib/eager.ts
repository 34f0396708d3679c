import type { InputView, OutputView, OwnedTensor } from '../binding.js'
import { invalidArgument, ResNetError } from './errors.js'
import type { Graph } from './graph/graph.js'
import { type GraphInput, type Lowered, lower } from './graph/lower.js'
import { addon, native, nativeSync } from './native/call.js'
import { closest, describe } from './options.js'
import { allocateOutput, type Shape } from './outputs.js'
import { type Compiled, compileProgram, disposeCompiled, ProgramCache } from './programs.js'
import { adopted, Tensor } from './tensor.js'

/** Parameters of an operation by their PyTorch names. */
export type Parameters = Readonly<Record<string, Tensor | undefined>>

/** One eager operation: a graph over named inputs, with its parameters. */
export interface Operation {
  /** What messages begin with: 'conv2d'. */
  name: string
  /** Everything that the graph depends on besides shapes; part of the cache's key. */
  options: Readonly<Record<string, unknown>>
  inputs: Readonly<Record<string, Tensor>>
  parameters: Parameters
  graph: () => Graph
  /** Names of nodes; the last node's when left out. */
  outputs?: readonly string[]
  signal?: AbortSignal
}

interface Plan extends Lowered {
  text: string
}

const maxPlans = 128
const maxPrograms = 16

/** Runs operations as plans of their own: plans are kept by shape and options, and so are programs without weights. */
class EagerRunner {
  private readonly plans = new Map<string, Plan>()
  private readonly programs = new ProgramCache(maxPrograms)

  async run(operation: Operation): Promise<Tensor[]> {
    const { name, signal } = operation
    signal?.throwIfAborted()
    const inputs = Object.entries(operation.inputs).map(([label, tensor]) => ({
      label,
      tensor: checkFloats(name, label, tensor),
    }))
    const [first, ...others] = inputs.map(({ tensor }) => tensor) as [Tensor, ...Tensor[]]
    const images = first.shape[0] as number
    if (others.some(({ shape }) => shape[0] !== images)) {
      const shapes = [first, ...others].map(({ shape }) => `[${shape.join(', ')}]`)
      throw invalidArgument(`${name}: expected inputs of one batch size, received ${shapes.join(' and ')}`)
    }
    const graphInputs = inputs.map(({ label, tensor }) => asGraphInput(label, tensor))
    const { key, plan } = this.planOf(operation, graphInputs, first)
    checkParameters(operation, plan)
    const outputs = plan.outputShapes.map((shape, i) =>
      allocateOutput({ method: name, node: operation.outputs?.[i], images, shape, given: 'options' }),
    )
    const data = [first, ...others].map((tensor) => [tensor.data as InputView])
    await this.execute(operation, { key, plan, images, data, outputs: outputs.map((view) => [view]) })
    return outputs.map((view, i) => asTensor(view, images, plan.outputShapes[i] as Shape, first))
  }

  private planOf(operation: Operation, inputs: GraphInput[], like: Tensor): { key: string; plan: Plan } {
    const shapes = Object.entries(operation.parameters).map(([name, tensor]) => [name, tensor?.shape])
    const key = JSON.stringify([operation.name, operation.options, inputs, shapes])
    const plan = this.plans.get(key) ?? newPlan(operation, inputs, like)
    this.plans.delete(key)
    this.plans.set(key, plan)
    if (this.plans.size > maxPlans) this.plans.delete(this.plans.keys().next().value as string)
    return { key, plan }
  }

  private async execute({ name, parameters, signal }: Operation, execution: Execution): Promise<void> {
    const tensors = Object.entries(parameters).flatMap(([parameter, tensor]) =>
      tensor === undefined || isCounter(parameter) ? [] : [asOwned(name, parameter, tensor)],
    )
    const { images, data, outputs } = execution
    const run = async ({ lanes }: Compiled) => {
      const call = { batch: images, inputs: data, outputs }
      await lanes.use((lane) => native(signal, (control) => lane.run({ ...call, control })))
    }
    if (tensors.length === 0) {
      const key = { family: `${execution.key} ${images}`, bucket: images, threads: 0 }
      // Shared by all callers, so no one's signal may cancel it.
      await this.programs.use(key, () => compile(execution, []), run)
      return
    }
    const compiled = await compile(execution, tensors, signal).catch((error) => {
      throw asArgumentError(name, error)
    })
    try {
      await run(compiled)
    } finally {
      await disposeCompiled(compiled)
    }
  }
}

interface Execution {
  key: string
  plan: Plan
  images: number
  data: InputView[][]
  outputs: OutputView[][]
}

const runner = new EagerRunner()

/** Runs one operation. @throws ERR_RESNET_INVALID_ARGUMENT, ERR_RESNET_OUT_OF_MEMORY; the signal's reason. */
export function runEager(operation: Operation): Promise<Tensor[]> {
  return runner.run(operation)
}

async function compile(
  { plan, images }: Execution,
  tensors: OwnedTensor[],
  signal?: AbortSignal,
): Promise<Compiled> {
  const binding = addon()
  const weights = nativeSync(() => binding.weightsFromTensors({ tensors }))
  try {
    const call = { plan: plan.text, weights, maxBatch: images, threads: 0, float32Precision: 'high' } as const
    return await compileProgram(binding, call, plan, signal)
  } finally {
    // The program holds what it packed; nothing waits for the rest.
    void weights.dispose()
  }
}

function newPlan({ graph, outputs, name }: Operation, inputs: GraphInput[], like: Tensor): Plan {
  const nodes = graph()
  const names = outputs ?? [nodes.at(-1)?.name ?? name]
  const lowered = lower({
    graph: nodes,
    inputs,
    outputs: names.map((output) => ({ name: output, layout: like.layout })),
  })
  return { ...lowered, text: JSON.stringify(lowered.plan) }
}

/** [N, C, H, W] as an image, [N, D] as a vector. */
function asGraphInput(label: string, { shape, layout, dtype }: Tensor): GraphInput {
  const [, c = 1, h = 1, w = 1] = shape
  return { name: label, shape: [h, w, c], dtype: dtype as GraphInput['dtype'], layout }
}

function checkFloats(name: string, label: string, tensor: Tensor): Tensor {
  if (!(tensor instanceof Tensor)) {
    throw invalidArgument(`${name}: expected ${label} to be a Tensor, received ${describe(tensor)}`)
  }
  if (tensor.shape.length !== 4 && tensor.shape.length !== 2) {
    const expected = `${name}: expected ${label} of shape [N, C, H, W] or [N, D]`
    throw invalidArgument(`${expected}, received [${tensor.shape.join(', ')}]`)
  }
  if (tensor.dtype !== 'uint8' && tensor.dtype !== 'int32') return tensor
  throw invalidArgument(
    `${name}: expected ${label} of float32, float16 or bfloat16, received ${tensor.dtype}; convert it with toFloat32()`,
  )
}

/** Maps keep the layout of the first input; what has become a vector, or came as one, is [N, D]. */
function asTensor(view: Float32Array | Int32Array, images: number, [h, w, c]: Shape, like: Tensor): Tensor {
  return like.shape.length === 2
    ? (adopted(view, [images, c], 'nchw') as Tensor)
    : (adopted(view, [images, c, h, w], like.layout) as Tensor)
}

const isCounter = (name: string) => name.endsWith('num_batches_tracked')

function checkParameters({ name, parameters }: Operation, { plan }: Plan): void {
  const wanted = new Map(plan.parameters.map(({ name: parameter, shape }) => [parameter, shape]))
  for (const parameter of Object.keys(parameters)) {
    if (wanted.has(parameter) || isCounter(parameter) || parameters[parameter] === undefined) continue
    const nearest = closest(parameter, wanted.keys())
    throw invalidArgument(
      `${name}: there is no parameter '${parameter}'; ` +
        (nearest === undefined ? `it takes ${[...wanted.keys()].join(', ')}` : `did you mean '${nearest}'?`),
    )
  }
  for (const [parameter, shape] of wanted) {
    const tensor = parameters[parameter]
    if (tensor instanceof Tensor && tensor.shape.join() === shape.join()) continue
    const received = tensor instanceof Tensor ? `[${tensor.shape.join(', ')}]` : describe(tensor)
    throw invalidArgument(
      `${name}: expected ${parameter} to be a Tensor of shape [${shape.join(', ')}], received ${received}`,
    )
  }
}

/** What a checkpoint's parameters would be blamed for is here the caller's argument. */
function asArgumentError(name: string, error: unknown): unknown {
  if (!(error instanceof ResNetError) || error.code !== 'ERR_RESNET_MISMATCH') return error
  return invalidArgument(`${name}: ${error.message}`, { cause: error })
}

function asOwned(operation: string, name: string, tensor: Tensor): OwnedTensor {
  const { shape, dtype, data } = tensor.toLayout('nchw')
  if (dtype === 'float32' || dtype === 'float16' || dtype === 'bfloat16') {
    return { name, shape: [...shape], dtype, data: data as Float32Array | Uint16Array }
  }
  throw invalidArgument(`${operation}: expected ${name} of float32, float16 or bfloat16, received ${dtype}`)
}
