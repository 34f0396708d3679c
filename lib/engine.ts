import type { Binding, Checkpoint, ExplainRow, InputView, Isa, OutputView, Weights } from '../binding.js'
import { buildNetwork, inputName, logitsName, type Network, pooledName } from './architecture/build.js'
import type { Architecture } from './architecture/spec.js'
import { invalidArgument, unsupported } from './errors.js'
import { type Graph, type GraphNode, indicesOf } from './graph/graph.js'
import { lower } from './graph/lower.js'
import type { InputStep, MemoryLayout } from './graph/plan.js'
import { native } from './native/call.js'
import { type Compiled, compileProgram, ProgramCache } from './programs.js'
import { CallQueue, type Turn } from './queue.js'

/** Compiled programs that a model keeps: the input sizes and batch sizes that alternate in practice. */
const maxPrograms = 4

export interface EngineOptions {
  threads: number
  maxBatch: number
  float32Precision: 'highest' | 'high'
  /** For tests; users choose with RESNET_ISA. */
  isa?: Isa
}

/** What a network is asked for: names of nodes, and steps to append to its graph. */
export interface Request {
  /** Distinguishes it among the requests of a model. */
  key: string
  outputs: readonly string[]
  tail: readonly GraphNode[]
}

/** Memory that holds images one after another: [N, C, H, W] or [N, H, W, C]. */
export interface BatchInput {
  pieces: InputView[]
  images: number
  height: number
  width: number
  dtype: InputStep['dtype']
  layout: MemoryLayout
}

export interface EngineParts {
  binding: Binding
  architecture: Architecture
  weights: Weights
  checkpoint?: Checkpoint
  /** Of uint8 input, per channel. */
  normalisation: { mean: readonly number[]; std: readonly number[] }
  options: EngineOptions
}

/** A network with its weights: compiles plans for the sizes that are asked for and runs batches through them. */
export class Engine {
  readonly architecture: Architecture
  readonly options: EngineOptions
  private readonly network: Network
  private readonly programs = new ProgramCache(maxPrograms)
  private readonly queue = new CallQueue('The model')
  private disposal?: Promise<void>

  constructor(private readonly parts: EngineParts) {
    this.architecture = parts.architecture
    this.options = parts.options
    this.network = buildNetwork(parts.architecture)
  }

  /** A call: `body` gets turns, one at a time among all calls. @throws ERR_RESNET_DISPOSED; the signal's reason. */
  call<T>(signal: AbortSignal | undefined, body: (turn: Turn) => Promise<T>): Promise<T> {
    return this.queue.call(signal, body)
  }

  /**
   * Runs one batch of at most `maxBatch` images within a turn. `outputs` gives memory for the outputs' shapes: one list
   * of pieces per output.
   */
  async run(
    input: BatchInput,
    request: Request,
    outputs: (shapes: Compiled['outputShapes']) => OutputView[][],
    signal?: AbortSignal,
  ): Promise<void> {
    const { key, compile } = this.programFor(input, request, signal)
    await this.programs.use(key, compile, async ({ lane, outputShapes }) => {
      const call = { batch: input.images, inputs: [input.pieces], outputs: outputs(outputShapes) }
      await native(signal, (cancel) => lane.run({ ...call, ...cancel }))
    })
  }

  /** Compiles what `run` of the same would need. */
  async prepare(input: Omit<BatchInput, 'pieces'>, request: Request, signal?: AbortSignal): Promise<void> {
    const { key, compile } = this.programFor(input, request, signal)
    await this.programs.use(key, compile, async () => {})
  }

  /** How the program of such a batch runs, step by step; times are those of its last run, 0 before the first. */
  async explain(
    input: Omit<BatchInput, 'pieces'>,
    request: Request,
    signal?: AbortSignal,
  ): Promise<ExplainRow[]> {
    const { key, compile } = this.programFor(input, request, signal)
    return this.programs.use(key, compile, async ({ program }) => program.explain())
  }

  /** Idempotent: refuses calls, waits for those that run, then frees programs, weights and checkpoint. */
  dispose(): Promise<void> {
    this.disposal ??= this.close()
    return this.disposal
  }

  logits(): Request {
    return { key: 'logits', outputs: [this.headOrThrow('forward')], tail: [] }
  }

  pooled(): Request {
    return { key: 'pooled', outputs: [pooledName], tail: [] }
  }

  /** Scores (softmax) and indices of the k likeliest classes. */
  likeliest(k: number): Request {
    const tail: GraphNode[] = [
      { kind: 'softmax', name: 'softmax', input: this.headOrThrow('classify') },
      { kind: 'topK', name: 'topK', input: 'softmax', k },
    ]
    return { key: `topK ${k}`, outputs: ['topK', indicesOf('topK')], tail }
  }

  stages(names: readonly string[]): Request {
    const outputs = names.map((name) => {
      const node = this.network.stages.get(name)
      if (node !== undefined) return node
      const known = [...this.network.stages.keys()].map((stage) => `'${stage}'`).join(', ')
      throw invalidArgument(`features: expected stages among ${known}, received '${name}'`)
    })
    return { key: `stages ${names.join()}`, outputs, tail: [] }
  }

  private headOrThrow(method: string): string {
    if (this.architecture.numClasses > 0) return logitsName
    throw unsupported(`${method}: the network has no head (numClasses 0); embed and features need none`)
  }

  private programFor(input: Omit<BatchInput, 'pieces'>, request: Request, signal?: AbortSignal) {
    const { height, width, dtype, layout } = input
    const bucket = bucketOf(input.images, this.options.maxBatch)
    const key = [`${height}x${width}`, request.key, dtype, layout, bucket].join(' | ')
    return { key, compile: () => this.compile(input, request, bucket, signal) }
  }

  private async compile(
    { height, width, dtype, layout }: Omit<BatchInput, 'pieces'>,
    { outputs, tail }: Request,
    maxBatch: number,
    signal?: AbortSignal,
  ): Promise<Compiled> {
    const { binding, weights, normalisation, architecture } = this.parts
    const graph: Graph = [...this.network.graph, ...tail]
    const shape = [height, width, architecture.inChannels] as const
    const { plan, outputShapes } = lower({
      graph,
      inputs: [{ name: inputName, shape, dtype, layout, ...normalisation }],
      outputs: outputs.map((name) => ({ name, layout: 'nchw' })),
    })
    const call = { ...this.options, plan: JSON.stringify(plan), weights, maxBatch }
    return compileProgram(binding, call, outputShapes, signal)
  }

  private async close(): Promise<void> {
    await this.queue.close()
    await this.programs.dispose()
    this.parts.weights.dispose()
    this.parts.checkpoint?.dispose()
  }
}

/** A batch runs in the next power of two, so that a handful of programs serves every size up to `maxBatch`. */
function bucketOf(images: number, maxBatch: number): number {
  return Math.min(maxBatch, 2 ** Math.ceil(Math.log2(images)))
}
