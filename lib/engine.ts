import type { Binding, Checkpoint, DeviceMemoryUse, ExplainRow, Isa, Weights } from '../binding.js'
import type { Signal } from './abort.js'
import { buildNetwork, inputName, logitsName, type Network, pooledName } from './architecture/build.js'
import type { Architecture } from './architecture/spec.js'
import type { CallHandle } from './batching/call.js'
import { Gate } from './batching/gate.js'
import { type LaneShape, lanesWith } from './batching/lanes.js'
import type { Batch, OutputPieces, Share } from './batching/part.js'
import { Recorder } from './batching/recorder.js'
import { type CallRequest, Scheduler } from './batching/scheduler.js'
import { batchChannel, callChannel, isWatched } from './batching/tracing.js'
import type { ChosenDevice } from './device.js'
import { invalidArgument, unsupported } from './errors.js'
import { type Graph, type GraphNode, indicesOf } from './graph/graph.js'
import { lower } from './graph/lower.js'
import type { InputStep, MemoryLayout } from './graph/plan.js'
import type { ImageLine } from './image/decode.js'
import { ImageMemory } from './image/memory.js'
import type { ImageForm, Preprocessing } from './image/types.js'
import { native } from './native/call.js'
import { holdAll } from './native/storage.js'
import {
  type Compiled,
  compileProgram,
  ProgramCache,
  type ProgramKey,
  type ProgramMemory,
} from './programs.js'

/** What a model takes, and on a GPU what is in use there. */
export interface ModelMemory extends ProgramMemory {
  /**
   * Of all models of this thread under the same `memoryLimit`, in bytes; `process` is the driver's own count of the whole
   * process. Absent on the CPU, and once the model is disposed of.
   */
  device?: DeviceMemoryUse
}

/** Families of programs that a model keeps: the input sizes and requests that alternate in practice. */
const maxFamilies = 4
/** Kinds of images that are remembered for each request: a kind's key is long to write for every call. */
const maxKinds = 16
/** Images that may be decoded ahead even with small batches. */
const minDecoded = 16
/** Every model has a line of its own. */
let lastLine = 1

export interface EngineOptions {
  shape: LaneShape
  maxBatch: number
  maxDelayMs: number
  maxQueue: number
  /** Images prepared at once; 0: what the environment says is no number. */
  imageThreads: number
  float32Precision: 'highest' | 'high' | 'tf32'
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

/** What images are like: [C, H, W] or [H, W, C]. */
export interface InputKind {
  height: number
  width: number
  dtype: InputStep['dtype']
  layout: MemoryLayout
  /** They are decoded pictures, of this size once they are resized so. */
  resize?: InputStep['resize']
}

/** Images that may share a batch. */
export interface Kind {
  key: string
  input: InputKind
  request: Request
}

export type EngineCall = CallHandle<Kind>

export interface EngineParts {
  binding: Binding
  device: ChosenDevice
  architecture: Architecture
  weights: Weights
  checkpoint?: Checkpoint
  /** Of uint8 input, per channel; how pictures are resized. */
  preprocessing: Pick<Preprocessing, 'mean' | 'std' | 'interpolation'>
  /** Images are resized by the device, where it is not the host. */
  resizeOnDevice: boolean
  options: EngineOptions
}

/** A network with its weights: compiles plans for the sizes that are asked for and runs batches through them. */
export class Engine {
  readonly architecture: Architecture
  readonly options: EngineOptions
  private readonly network: Network
  private readonly programs = new ProgramCache(maxFamilies)
  private readonly scheduler: Scheduler<Kind>
  readonly recorder = new Recorder()
  /** Of images that are decoded ahead of the network. */
  readonly gate: Gate
  /** Of those inside it, the ones that are not decoded yet. */
  preparing = 0
  /** What they are decoded into: a batch reads it where it is. */
  readonly imageMemory: ImageMemory
  /** Of its images before the addon's threads; absent: those threads say what is wrong with the environment's number. */
  readonly imageLine: ImageLine | undefined
  private readonly kinds = new WeakMap<Request, Kind[]>()
  private readonly requests = new Map<string, Request>()
  /** Of `likeliest`, by k. */
  private readonly rankings = new Map<number, Request>()
  private disposal?: Promise<void>

  constructor(private readonly parts: EngineParts) {
    this.architecture = parts.architecture
    this.options = parts.options
    this.network = buildNetwork(parts.architecture)
    const { imageThreads } = parts.options
    this.imageLine = imageThreads > 0 ? { line: ++lastLine, threads: imageThreads } : undefined
    this.gate = new Gate(this.ahead)
    this.imageMemory = new ImageMemory(this.ahead)
    const schedulerOptions = { ...parts.options, owner: 'The model' }
    // More than are prepared at once: all cores that there are for images have work.
    const moreToCome = () => this.preparing > imageThreads
    const run = (batch: Batch<Kind>) => this.traced(batch)
    this.scheduler = new Scheduler(schedulerOptions, run, this.recorder, moreToCome)
  }

  /**
   * A call: `body` submits its images, which run in batches with those of other calls.
   * @throws ERR_RESNET_QUEUE_FULL; ERR_RESNET_DISPOSED; the signal's reason.
   */
  call<T>(request: CallRequest, body: (call: EngineCall) => Promise<T>): Promise<T> {
    if (!isWatched(callChannel)) return this.scheduler.call(request, body)
    const { method, images, priority } = request
    const context = { method, images, priority, queueDepth: this.scheduler.queueDepth }
    return callChannel.tracePromise(() => this.scheduler.call(request, body), context)
  }

  /**
   * Images that are decoded or wait decoded: two batches for every lane, one that runs and one that fills meanwhile, and
   * where there are more threads than that, a batch and a few images for each of them.
   */
  get ahead(): number {
    const { shape, maxBatch, imageThreads } = this.options
    const { lanes } = shape
    return Math.max(minDecoded, 2 * lanes * maxBatch, lanes * maxBatch + 2 * imageThreads)
  }

  /** What decoded images are made before they come here: a device normalises them itself, for a quarter of the bytes. */
  get form(): ImageForm {
    if (this.lease === undefined) return 'float32'
    return this.parts.resizeOnDevice ? 'picture' : 'uint8'
  }

  /** What images are in that form. */
  imagesOf(height: number, width: number): InputKind {
    const { form } = this
    if (form === 'float32') return { height, width, dtype: 'float32', layout: 'nchw' }
    const levels = { height, width, dtype: 'uint8', layout: 'nhwc' } as const
    return form === 'uint8' ? levels : { ...levels, resize: this.parts.preprocessing.interpolation }
  }

  /** What is under way, and what it takes. */
  load(): { queueDepth: number; busyLanes: number; memory: ModelMemory } {
    const { queueDepth, busyLanes } = this.scheduler
    const device = this.disposal === undefined ? this.lease?.device.memory() : undefined
    const memory = { ...this.programs.memory(), ...(device === undefined ? {} : { device }) }
    return { queueDepth, busyLanes, memory }
  }

  kindOf(input: InputKind, request: Request): Kind {
    const { height, width, dtype, layout, resize = '' } = input
    const known = this.kinds.get(request)
    for (const kind of known ?? []) {
      const { input: other } = kind
      if (
        other.height === height &&
        other.width === width &&
        other.dtype === dtype &&
        other.layout === layout &&
        other.resize === input.resize
      )
        return kind
    }
    const key = [`${height}x${width}`, request.key, dtype, layout, resize].join(' | ')
    const kind = { key, input, request }
    if (known === undefined || known.length === maxKinds) this.kinds.set(request, [kind])
    else known.push(kind)
    return kind
  }

  /** Compiles what a batch of `images` of the kind needs, and makes the lanes: of several choices those of the first. */
  async prepare(kind: Kind, images: number, signal: Signal): Promise<void> {
    const { threads, shares = [threads] } = this.options.shape
    for (const share of shares) {
      const { key, compile } = this.programFor(kind, images, share)
      const fill = async ({ lanes }: Compiled) => (share === threads ? lanes.fill() : undefined)
      await this.programs.use(key, compile, fill, signal)
    }
  }

  private traced(batch: Batch<Kind>): Promise<void> {
    if (!isWatched(batchChannel)) return this.run(batch)
    const { images, shares, kind } = batch
    const { height, width } = kind.input
    const context = {
      images,
      calls: shares.length,
      height,
      width,
      device: this.parts.device.explanation.device,
    }
    return batchChannel.tracePromise(() => this.run(batch), context)
  }

  private run({ kind, images, threads, shares, signal }: Batch<Kind>): Promise<void> {
    const { key, compile } = this.programFor(kind, images, threads)
    const body = async ({ lanes, outputShapes }: Compiled) => {
      const assembling = assemble(shares, outputShapes)
      const { batch, inputs, outputs, held } = assembling instanceof Promise ? await assembling : assembling
      try {
        if (batch === 0) return
        await lanes.use(async (lane) => {
          const begun = performance.now()
          await native(signal, (control) => lane.run({ batch, inputs, outputs, control }))
          this.recorder.computed(performance.now() - begun, batch)
        })
      } finally {
        for (const release of held) release()
      }
    }
    return this.programs.use(key, compile, body, signal)
  }

  /** How the program of such a batch runs, step by step; times are those of its last run, 0 before the first. */
  explain(kind: Kind, images: number, signal: Signal): Promise<ExplainRow[]> {
    const { key, compile } = this.programFor(kind, images, this.options.shape.threads)
    return this.programs.use(key, compile, async ({ program }) => program.explain(), signal)
  }

  /** Where tensors of a device are; undefined: the model is on the CPU. */
  get lease(): ChosenDevice['lease'] {
    return this.parts.device.lease
  }

  /** Idempotent: refuses calls, waits for those that run, then frees programs, weights and checkpoint. */
  dispose(): Promise<void> {
    this.disposal ??= this.close()
    return this.disposal
  }

  logits(): Request {
    return this.remembered('logits', () => ({ outputs: [this.headOrThrow('forward')], tail: [] }))
  }

  pooled(): Request {
    return this.remembered('pooled', () => ({ outputs: [pooledName], tail: [] }))
  }

  /** Scores (softmax) and indices of the k likeliest classes. */
  likeliest(k: number): Request {
    const known = this.rankings.get(k)
    if (known !== undefined) return known
    const tail: GraphNode[] = [
      { kind: 'softmax', name: 'softmax', input: this.headOrThrow('classify') },
      { kind: 'topK', name: 'topK', input: 'softmax', k },
    ]
    const made = { key: `topK ${k}`, outputs: ['topK', indicesOf('topK')], tail }
    this.rankings.set(k, made)
    return made
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

  private remembered(key: string, make: () => Omit<Request, 'key'>): Request {
    const known = this.requests.get(key)
    if (known !== undefined) return known
    const made = { key, ...make() }
    this.requests.set(key, made)
    return made
  }

  private headOrThrow(method: string): string {
    if (this.architecture.numClasses > 0) return logitsName
    throw unsupported(`${method}: the network has no head (numClasses 0); embed and features need none`)
  }

  private programFor(kind: Kind, images: number, threads: number) {
    const bucket = bucketOf(images, this.options.maxBatch)
    const key = { family: kind.key, bucket, threads }
    const compile = (signal: Signal) => this.compile(kind, key, signal)
    return { key, compile }
  }

  private async compile(
    { input, request }: Kind,
    { bucket, threads }: ProgramKey,
    signal: Signal,
  ): Promise<Compiled> {
    const { height, width, ...given } = input
    const { outputs, tail } = request
    const { binding, weights, preprocessing, architecture, device } = this.parts
    const { mean, std } = preprocessing
    const { float32Precision, isa } = this.options
    const maxLanes = lanesWith(threads, this.options.shape)
    const graph: Graph = [...this.network.graph, ...tail]
    const shape = [height, width, architecture.inChannels] as const
    const { plan, outputShapes } = lower({
      graph,
      inputs: [{ name: inputName, shape, mean, std, ...given }],
      outputs: outputs.map((name) => ({ name, layout: 'nchw' })),
      dtype: device.explanation.dtype,
    })
    const options = { threads, float32Precision, ...(isa === undefined ? {} : { isa }) }
    const call = {
      ...device.compileOptions,
      ...options,
      plan: JSON.stringify(plan),
      weights,
      maxBatch: bucket,
    }
    return compileProgram(binding, call, { outputShapes, maxLanes }, signal)
  }

  private async close(): Promise<void> {
    await this.scheduler.close()
    await this.programs.dispose()
    await Promise.all([this.parts.weights.dispose(), this.parts.checkpoint?.dispose()])
    await this.parts.device.lease?.release()
  }
}

/** A batch runs in the next power of two, so that a handful of programs serves every size up to `maxBatch`. */
function bucketOf(images: number, maxBatch: number): number {
  return Math.min(maxBatch, 2 ** Math.ceil(Math.log2(images)))
}

/** The native call of a batch; a share that has no memory for its outputs, or lost that of its inputs, fails alone. */
function assemble(
  shares: readonly Share[],
  shapes: Compiled['outputShapes'],
): Assembled | Promise<Assembled> {
  const filled = shares.map((share) => outputsOf(share, shapes))
  if (!filled.some(isPromise)) return join(shares, filled as (OutputPieces | undefined)[], shapes)
  return Promise.all(filled).then((outputs) => join(shares, outputs, shapes))
}

function isPromise(value: unknown): boolean {
  return value instanceof Promise
}

interface Assembled {
  batch: number
  inputs: Share['pieces'][]
  outputs: OutputPieces
  /** Called once it has run. */
  held: readonly (() => void)[]
}

/** undefined: it has failed. */
function outputsOf(
  share: Share,
  shapes: Compiled['outputShapes'],
): OutputPieces | undefined | Promise<OutputPieces | undefined> {
  try {
    const filled = share.outputs(shapes)
    if (!(filled instanceof Promise)) return filled
    return filled.catch((error) => {
      share.fail(error)
      return undefined
    })
  } catch (error) {
    share.fail(error)
    return undefined
  }
}

function join(
  shares: readonly Share[],
  filled: readonly (OutputPieces | undefined)[],
  shapes: Compiled['outputShapes'],
): Assembled {
  const outputs: OutputPieces = shapes.map(() => [])
  const inputs: Share['pieces'] = []
  const held: (() => void)[] = []
  let batch = 0
  for (let s = 0; s < shares.length; ++s) {
    const share = shares[s] as Share
    const memory = filled[s]
    if (memory === undefined) continue
    const { pieces } = share
    try {
      const release = holdAll(pieces, memory)
      if (release !== undefined) held.push(release)
    } catch (error) {
      share.fail(error)
      continue
    }
    for (let i = 0; i < outputs.length; ++i) outputs[i]?.push(...(memory[i] ?? []))
    inputs.push(...pieces)
    batch += share.images
  }
  return { batch, inputs: [inputs], outputs, held }
}
