import type { Binding, Checkpoint, ExplainRow, Isa, Weights } from '../binding.js'
import type { Signal } from './abort.js'
import { parametersOf } from './architecture/build.js'
import { architectureNamed } from './architecture/families.js'
import { type Architecture, type ArchitectureOptions, defineArchitecture } from './architecture/spec.js'
import { laneShape } from './batching/lanes.js'
import type { Observer } from './batching/recorder.js'
import { type ChosenDevice, chooseDevice, type DeviceExplanation } from './device.js'
import { Engine, type Request } from './engine.js'
import { invalidArgument, ResNetError } from './errors.js'
import { heRule, type ParameterRule } from './formula.js'
import { choosePreprocessing } from './image/preset.js'
import type { ImageInput, Preprocessing } from './image/types.js'
import {
  type HostOutput,
  type ImageOptions,
  imageOutputs,
  isAtHand,
  type Output,
  tensorOutputs,
} from './inputs.js'
import {
  type ClassifyOptions,
  type ClassifyStreamOptions,
  type CreateOptions,
  classifyStreamTable,
  classifyTable,
  createTable,
  type ExplainOptions,
  explainTable,
  type HostCallOptions,
  type LoadOptions,
  limitsTable,
  loadTable,
  type ModelValues,
  modelTable,
  type StreamOptions,
  streamTable,
  type TensorCallOptions,
  tensorTable,
  type WarmupOptions,
  warmupTable,
} from './model-options.js'
import { addon, native, nativeSync } from './native/call.js'
import * as option from './options.js'
import { type ModelStats, statsOf } from './stats.js'
import { type Source, type Streamed, type Streaming, streamed } from './stream.js'
import { type AnyTensor, adopted, type DType, type Float32Tensor, Tensor } from './tensor.js'
import { chooseLabels } from './weights/labels.js'
import { matchCheckpoint } from './weights/match.js'
import { locate, type WeightsSource } from './weights/source.js'

/** One class of a classification; `score` is its softmax probability. */
export interface Prediction {
  label: string
  index: number
  score: number
}

/** An image, a list of them, or a tensor [N, C, H, W] (float32 as the network takes it, or uint8 pixels). */
export type Images = ImageInput | readonly ImageInput[] | AnyTensor

/** The options that every call has, and a signal of the library's own. */
interface CallValues {
  signal?: Signal | undefined
  priority: number
  /** Of a stream, which waits where the queue is full. */
  retries?: boolean
}

/** What a model is made of, once its options are read. */
interface ModelParts {
  binding: Binding
  chosen: ChosenDevice
  architecture: Architecture
  weights: Weights
  checkpoint?: Checkpoint
  metadata?: Record<string, string>
  config?: unknown
  preprocessorConfig?: unknown
  isa?: Isa
}

/**
 * A residual network with its weights, ready to run.
 * @example
 * const model = await ResNet.load('resnet50.safetensors')
 * const [best] = await model.classify('cat.jpg')
 * await model.dispose()
 */
export class ResNet {
  readonly architecture: Architecture
  readonly device: DeviceExplanation['device']
  readonly dtype: DType
  /** One name per class; empty without a head. */
  readonly labels: readonly string[]
  readonly preprocessing: Readonly<Preprocessing>
  private readonly engine: Engine
  private readonly explanation: DeviceExplanation
  private readonly imageOptions: ImageOptions

  private constructor(parts: ModelParts, values: ModelValues) {
    const { architecture, binding, weights, checkpoint, isa, chosen } = parts
    const { maxBatch, maxDelayMs, maxQueue, float32Precision, imageThreads, autoOrient, jpegScaling } = values
    this.architecture = architecture
    this.explanation = chosen.explanation
    this.device = this.explanation.device
    this.dtype = this.explanation.dtype
    this.labels = chooseLabels({ ...parts, option: values.labels, numClasses: architecture.numClasses })
    this.preprocessing = Object.freeze(
      choosePreprocessing({ ...parts, channels: architecture.inChannels, overrides: values.preprocess }),
    )
    this.imageOptions = {
      preprocessing: this.preprocessing,
      autoOrient,
      jpegScaling,
      limits: option.readOptions('imageLimits', limitsTable, values.imageLimits),
    }
    this.engine = new Engine({
      binding,
      device: chosen,
      architecture,
      weights,
      checkpoint,
      preprocessing: this.preprocessing,
      resizeOnDevice: values.preprocessOn === 'device',
      options: {
        maxBatch,
        maxDelayMs,
        maxQueue,
        shape: laneShape(values.lanes, this.explanation),
        imageThreads: imageThreads || defaultImageThreads(binding, this.explanation),
        float32Precision,
        isa,
      },
    })
  }

  /**
   * Opens a checkpoint and finds out what network it holds.
   * @param source A .safetensors file (path or `file:` URL), its bytes, or a folder with model.safetensors, config.json
   * and preprocessor_config.json. Names of torchvision, timm and transformers are known.
   * @throws ERR_RESNET_IO for a file that cannot be read; ERR_RESNET_CORRUPT for one that is no checkpoint;
   * ERR_RESNET_MISMATCH listing every tensor that does not fit; ERR_RESNET_UNSUPPORTED for pickles and networks that this
   * version does not build; ERR_RESNET_UNAVAILABLE for a device that is not there; ERR_RESNET_INVALID_ARGUMENT.
   * @example
   * await using model = await ResNet.load('resnet50.safetensors', { threads: 2 })
   */
  static async load(source: WeightsSource, options?: LoadOptions): Promise<ResNet> {
    const values = option.readOptions('ResNet.load', loadTable, options)
    const { signal, onProgress } = values
    signal?.throwIfAborted()
    onProgress?.({ phase: 'opening', fraction: 0 })
    const { name, path, bytes, outputStride, ...folder } = await locate(source, signal)
    const binding = addon()
    const chosen = await chooseDevice(binding, values)
    let checkpoint: Checkpoint | undefined
    let weights: Weights | undefined
    try {
      const opening = path === undefined ? { bytes } : { path }
      const opened = await native(signal, (control) => binding.openCheckpoint({ ...opening, control }))
      const { tensors, metadata } = opened
      checkpoint = opened.checkpoint
      onProgress?.({ phase: 'identifying', fraction: 0.5 })
      const asked = values.architecture ?? architectureIn(metadata)
      const matched = matchCheckpoint(tensors, {
        outputStride: values.outputStride ?? outputStride,
        architecture: asked,
        source: name,
      })
      const { architecture, names } = matched
      weights = nativeSync(() => binding.weightsFromCheckpoint({ checkpoint: opened.checkpoint, names }))
      const parts = { binding, chosen, architecture, weights, checkpoint, metadata, ...folder }
      const model = new ResNet(parts, values)
      signal?.throwIfAborted()
      onProgress?.({ phase: 'ready', fraction: 1 })
      return model
    } catch (error) {
      await Promise.all([weights?.dispose(), checkpoint?.dispose()])
      await chosen.lease?.release()
      throw error
    }
  }

  /**
   * A network with random weights: He-uniform convolutions, and each block's last norm scaled by 1/√blocks, so that a net
   * of any depth stays finite. The same name, options and seed give the same weights everywhere.
   * @param architecture A family's name ('resnet50') or a spec of your own.
   * @throws ERR_RESNET_INVALID_ARGUMENT, ERR_RESNET_UNSUPPORTED, ERR_RESNET_UNAVAILABLE.
   * @example
   * const model = await ResNet.create('resnet18', { seed: 7, numClasses: 10 })
   */
  static async create(architecture: string | ArchitectureOptions, options?: CreateOptions): Promise<ResNet> {
    const values = option.readOptions('ResNet.create', createTable, options)
    const { numClasses, inChannels, outputStride, seed } = values
    const given = Object.entries({ numClasses, inChannels, outputStride }).filter(
      ([, value]) => value !== undefined,
    )
    const overrides = Object.fromEntries(given)
    const spec =
      typeof architecture === 'string'
        ? architectureNamed(architecture, overrides, 'ResNet.create')
        : defineArchitecture({ ...architecture, ...overrides }, 'ResNet.create')
    return ResNet.fromFormula(spec, seed, heRule(spec), values)
  }

  /** @internal Weights by a rule, for the tests that compare with PyTorch; see `createFromFormula`. */
  static async fromFormula(
    architecture: Architecture,
    seed: number,
    rule: ParameterRule,
    values: ModelValues,
    isa?: Isa,
  ): Promise<ResNet> {
    values.signal?.throwIfAborted()
    const tensors = parametersOf(architecture).map(({ name, shape }) => {
      const [lo, hi] = rule(name, shape)
      return { name, shape: [...shape], lo, hi }
    })
    const binding = addon()
    const chosen = await chooseDevice(binding, values)
    let weights: Weights | undefined
    try {
      weights = nativeSync(() => binding.weightsFromFormula({ seed, tensors }))
      return new ResNet({ binding, chosen, architecture, weights, isa }, values)
    } catch (error) {
      await weights?.dispose()
      await chosen.lease?.release()
      throw error
    }
  }

  /**
   * Names the likeliest classes of each image, best first.
   * @returns A list for one image; a list of lists for an array of images or a tensor.
   * @throws ERR_RESNET_IMAGE, with `index` in an array, for an image that cannot be read; ERR_RESNET_IO;
   * ERR_RESNET_UNSUPPORTED for a network without a head; ERR_RESNET_DISPOSED; ERR_RESNET_INVALID_ARGUMENT; the signal's
   * reason.
   * @example
   * const [{ label, score }] = await model.classify('cat.jpg', { topK: 1 })
   */
  classify(images: readonly ImageInput[] | AnyTensor, options?: ClassifyOptions): Promise<Prediction[][]>
  classify(image: ImageInput, options?: ClassifyOptions): Promise<Prediction[]>
  async classify(images: Images, options?: ClassifyOptions): Promise<Prediction[] | Prediction[][]> {
    const call = option.readOptions('classify', classifyTable, options)
    if (Array.isArray(images) || images instanceof Tensor)
      return this.classified(images, call, (lists) => lists)
    return this.classified(images, call, ([predictions]) => predictions as Prediction[])
  }

  /**
   * The logits of a batch, as PyTorch's model in eval mode gives them.
   * @param x [N, C, H, W] in either layout; float32, float16 and bfloat16 as the network takes them, uint8 as pixels.
   * @returns [N, numClasses] float32.
   * @throws ERR_RESNET_INVALID_ARGUMENT naming the layer for a size that it does not admit; ERR_RESNET_UNSUPPORTED
   * without a head; ERR_RESNET_DISPOSED; the signal's reason.
   * @example
   * const logits = await model.forward(Tensor.from(new Float32Array(3 * 224 * 224), [1, 3, 224, 224]))
   */
  forward(x: AnyTensor, options?: HostCallOptions): Promise<Float32Tensor>
  forward(x: AnyTensor, options: TensorCallOptions): Promise<AnyTensor<'float32'>>
  async forward(x: AnyTensor, options?: TensorCallOptions): Promise<AnyTensor<'float32'>> {
    const call = option.readOptions('forward', tensorTable, options)
    if (!(x instanceof Tensor)) {
      throw invalidArgument(
        `forward: expected a Tensor, received ${option.describe(x)}; classify takes images`,
      )
    }
    return this.run('forward', x, this.engine.logits(), call, ([logits]) => asVectors(logits as Output))
  }

  /**
   * The pooled features of each image: what a head would see.
   * @returns [N, D] float32; N is 1 for one image, D 2048 for a resnet50.
   * @throws As `classify`, but no head is needed.
   * @example
   * const { data, shape } = await model.embed(['a.jpg', 'b.jpg'])
   */
  embed(images: Images, options?: HostCallOptions): Promise<Float32Tensor>
  embed(images: Images, options: TensorCallOptions): Promise<AnyTensor<'float32'>>
  async embed(images: Images, options?: TensorCallOptions): Promise<AnyTensor<'float32'>> {
    const call = option.readOptions('embed', tensorTable, options)
    return this.embedded(images, call)
  }

  /**
   * Classifies a stream of images of any length in constant memory: several at a time, as `classify` would each.
   * @param images Anything to iterate over. An image is taken from it only when there is room, so whoever makes them
   * should make them when asked.
   * @returns In the order of the images: `{ input, predictions }`, or `{ input, error }` for one that cannot be read.
   * A full queue (`maxQueue`) is waited for. Leaving the loop aborts what is under way and closes `images`.
   * @throws ERR_RESNET_DISPOSED, ERR_RESNET_UNSUPPORTED without a head, ERR_RESNET_INVALID_ARGUMENT for the options; the
   * signal's reason; what `images` throws.
   * @example
   * for await (const { input, predictions, error } of model.classifyStream(paths, { topK: 1 })) {
   *   console.log(input, error ?? predictions[0].label)
   * }
   */
  classifyStream<Input extends ImageInput>(
    images: Source<Input>,
    options?: ClassifyStreamOptions,
  ): AsyncGenerator<Streamed<Input, { predictions: Prediction[] }>, void, undefined> {
    const { topK, priority, ...values } = option.readOptions('classifyStream', classifyStreamTable, options)
    return streamed(this.checkSource('classifyStream', images), this.streaming(values), (image, signal) =>
      this.classified(image, { topK, priority, signal, retries: true }, predictionsOfOne),
    )
  }

  /**
   * The pooled features of a stream of images; see `classifyStream`.
   * @returns `{ input, embedding }` with a tensor [1, D], or `{ input, error }`.
   * @throws As `classifyStream`, but no head is needed.
   * @example
   * for await (const { input, embedding } of model.embedStream(paths)) console.log(input, embedding?.data)
   */
  embedStream<Input extends ImageInput>(
    images: Source<Input>,
    options?: StreamOptions,
  ): AsyncGenerator<Streamed<Input, { embedding: Float32Tensor }>, void, undefined> {
    const { priority, ...values } = option.readOptions('embedStream', streamTable, options)
    return streamed(
      this.checkSource('embedStream', images),
      this.streaming(values),
      async (image, signal) => {
        return {
          embedding: (await this.embedded(image, { priority, signal, retries: true })) as Float32Tensor,
        }
      },
    )
  }

  /**
   * Feature maps of stages: 'stem' (after its relu, before the pool), 'layer1', 'layer2', …
   * @returns A float32 tensor [N, C, H, W] per stage, layout 'nchw'.
   * @throws As `embed`; ERR_RESNET_INVALID_ARGUMENT for a stage that the network has not, and for images that differ in
   * size after preprocessing.
   * @example
   * const { layer2, layer4 } = await model.features('cat.jpg', ['layer2', 'layer4'])
   */
  features<const Stage extends string>(
    images: Images,
    stages: readonly Stage[],
    options?: HostCallOptions,
  ): Promise<Record<Stage, Float32Tensor>>
  features<const Stage extends string>(
    images: Images,
    stages: readonly Stage[],
    options: TensorCallOptions,
  ): Promise<Record<Stage, AnyTensor<'float32'>>>
  async features<const Stage extends string>(
    images: Images,
    stages: readonly Stage[],
    options?: TensorCallOptions,
  ): Promise<Record<Stage, AnyTensor<'float32'>>> {
    const call = option.readOptions('features', tensorTable, options)
    const stage = option.value<string>('a string', (value) => typeof value === 'string')
    const names = option.check('features', 'stages', option.list(stage, 1, 64), stages)
    const distinct = [...new Set(names)]
    return this.run('features', images, this.engine.stages(distinct), call, (outputs) => {
      const maps = outputs.map((output, i) => [distinct[i], asMaps(output)])
      return Object.fromEntries(maps) as Record<Stage, AnyTensor<'float32'>>
    })
  }

  /**
   * Compiles ahead, so that the first call of this input size and batch is as fast as the next.
   * @throws ERR_RESNET_INVALID_ARGUMENT, ERR_RESNET_CORRUPT or ERR_RESNET_IO when the weights cannot be read,
   * ERR_RESNET_OUT_OF_MEMORY, ERR_RESNET_DISPOSED; the signal's reason.
   * @example
   * await model.warmup({ height: 224, width: 224, batches: [1, 8] })
   */
  async warmup(options: WarmupOptions): Promise<void> {
    const values = option.readOptions('warmup', warmupTable, options)
    const height = option.check('warmup', 'height', warmupTable.height, values.height)
    const width = option.check('warmup', 'width', warmupTable.width, values.width)
    const { signal, batches = [1], method = this.labels.length > 0 ? 'classify' : 'embed' } = values
    const request = this.requestOf(method)
    const { engine } = this
    const input =
      method === 'forward'
        ? ({ height, width, dtype: 'float32', layout: 'nchw' } as const)
        : engine.imagesOf(height, width)
    const kind = engine.kindOf(input, request)
    await engine.call({ method: 'warmup', images: 0, priority: 0, signal, inOrder: false }, async (call) => {
      for (const images of batches) await engine.prepare(kind, images, call.signal)
    })
  }

  /**
   * How `forward` runs images of this size, step by step: kernel or engine chosen, those refused and why and those beaten
   * with their times, FLOP and bytes per image, milliseconds, scratch memory, and the share of the roofline, whose ceilings
   * `explainDevice()` tells. On the CPU times are those of the last such batch (0 before the first); on CUDA those measured at
   * compile (0 with `autotune: 'off'`), and a last row, of kind 'schedule', is the batch as a whole.
   * @throws As `warmup`.
   * @example
   * const rows = await model.explain({ height: 224, width: 224 })
   */
  async explain(options: ExplainOptions): Promise<ExplainRow[]> {
    const values = option.readOptions('explain', explainTable, options)
    const height = option.check('explain', 'height', explainTable.height, values.height)
    const width = option.check('explain', 'width', explainTable.width, values.width)
    const { batch, signal } = values
    const { engine } = this
    const kind = engine.kindOf({ height, width, dtype: 'float32', layout: 'nchw' }, engine.logits())
    const request = { method: 'explain', images: 0, priority: 0, signal, inOrder: false }
    return engine.call(request, (call) => engine.explain(kind, batch, call.signal))
  }

  /** Which device, instruction set and thread count were chosen, and why. */
  explainDevice(): DeviceExplanation {
    return structuredClone(this.explanation)
  }

  /**
   * What the model is doing and has done: queue, batch sizes, latencies, images a second, memory.
   * @example
   * const { queueDepth, batchSizes, latencyMs } = model.stats()
   */
  stats(): ModelStats {
    return statsOf(this.engine, this)
  }

  /** @internal Images that a stream works on at once: as many as may be decoded ahead of the network. */
  get ahead(): number {
    return this.engine.ahead
  }

  /** @internal Tells `observer` what happens until the returned function is called. */
  observe(observer: Observer): () => void {
    const { observers } = this.engine.recorder
    observers.add(observer)
    return () => observers.delete(observer)
  }

  /**
   * Refuses new calls, rejects waiting ones with ERR_RESNET_DISPOSED, waits for those that run, then frees everything.
   * Idempotent.
   */
  dispose(): Promise<void> {
    return this.engine.dispose()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }

  private checkSource<T>(method: string, source: Source<T>): Source<T> {
    const { asyncIterator, iterator } = Symbol
    const isSource =
      typeof source === 'object' && source !== null && (asyncIterator in source || iterator in source)
    if (isSource && !ArrayBuffer.isView(source)) return source
    throw invalidArgument(
      `${method}: expected an iterable of images, received ${option.describe(source)}; one image goes into a list`,
    )
  }

  private streaming({ concurrency, signal }: { concurrency?: number; signal?: AbortSignal }): Streaming {
    return { concurrency: concurrency ?? this.ahead, signal }
  }

  private requestOf(method: 'classify' | 'forward' | 'embed'): Request {
    if (method === 'forward') return this.engine.logits()
    if (method === 'embed') return this.engine.pooled()
    return this.engine.likeliest(Math.min(classifyTable.topK.fallback, Math.max(1, this.labels.length)))
  }

  private embedded(
    images: Images,
    call: CallValues & { output?: 'host' | 'device' },
  ): Promise<AnyTensor<'float32'>> {
    return this.run('embed', images, this.engine.pooled(), call, ([pooled]) => asVectors(pooled as Output))
  }

  /** `finish` gets the predictions of each image. */
  private classified<T>(
    images: Images,
    call: CallValues & { topK: number },
    finish: (lists: Prediction[][]) => T,
  ): Promise<T> {
    const k = Math.min(call.topK, Math.max(1, this.labels.length))
    return this.run('classify', images, this.engine.likeliest(k), call, (outputs) =>
      finish(this.predictions(outputs as HostOutput[], k)),
    )
  }

  /** From scores and indices of `k` classes for each image. */
  private predictions(outputs: HostOutput[], k: number): Prediction[][] {
    const [scores, indices] = outputs as [HostOutput, HostOutput]
    const lists: Prediction[][] = []
    for (let from = 0; from < scores.data.length; from += k) {
      const list: Prediction[] = []
      for (let at = from; at < from + k; ++at) {
        const index = indices.data[at] as number
        list.push({ label: this.labels[index] as string, index, score: scores.data[at] as number })
      }
      lists.push(list)
    }
    return lists
  }

  /**
   * One call; `finish` gets the outputs of all its images together. It is part of the call: done afterwards, it would let
   * a later call of another method, with less of it, settle before this one.
   */
  private run<T>(
    method: string,
    images: Images,
    request: Request,
    { signal, priority, retries = false, output = 'host' }: CallValues & { output?: 'host' | 'device' },
    finish: (outputs: Output[]) => T,
  ): Promise<T> {
    const { engine, imageOptions } = this
    if (images instanceof Tensor) {
      const asked = { method, images: images.shape[0] ?? 0, priority, retries, signal, inOrder: true }
      return engine.call(asked, (call) =>
        tensorOutputs(images, { method, engine, request, call, output }).then(finish),
      )
    }
    const indexed = Array.isArray(images)
    const list = indexed ? (images as ImageInput[]) : [images as ImageInput]
    const asked = { method, images: list.length, priority, retries, signal, inOrder: list.every(isAtHand) }
    return engine.call(asked, (call) =>
      imageOutputs(list, { method, engine, request, call, output, imageOptions, indexed }).then(finish),
    )
  }
}

/**
 * A network with weights by a rule (name and shape of a parameter → bounds of its uniform values), for tests that compare
 * with another implementation of the same formula. Not exported by the package.
 */
export function createFromFormula(
  architecture: Architecture,
  seed: number,
  rule: ParameterRule,
  { isa, ...options }: CreateOptions & { isa?: Isa } = {},
): Promise<ResNet> {
  const values = option.readOptions('createFromFormula', modelTable, options)
  return ResNet.fromFormula(architecture, seed, rule, values, isa)
}

function predictionsOfOne([predictions]: Prediction[][]): { predictions: Prediction[] } {
  return { predictions: predictions as Prediction[] }
}

/** What the environment says, else as many as the network has; a GPU's network has none. */
function defaultImageThreads(binding: Binding, { threads }: DeviceExplanation): number {
  const { imageThreads } = binding.cpuInfo()
  return process.env.RESNET_IMAGE_THREADS || threads === 0 ? imageThreads : threads
}

/** The metadata key 'resnet.architecture': a family's name, or a spec as JSON. */
function architectureIn(metadata: Record<string, string>): string | ArchitectureOptions | undefined {
  const found = metadata['resnet.architecture']
  if (found === undefined) return undefined
  const call = "the checkpoint's metadata 'resnet.architecture'"
  try {
    const asked = found.trimStart().startsWith('{') ? (JSON.parse(found) as ArchitectureOptions) : found
    if (typeof asked === 'string') architectureNamed(asked, {}, call)
    else defineArchitecture(asked, call)
    return asked
  } catch (cause) {
    if (cause instanceof ResNetError && cause.code === 'ERR_RESNET_UNSUPPORTED') throw cause
    const message = cause instanceof ResNetError ? cause.message : `${call}: ${(cause as Error).message}`
    throw new ResNetError('ERR_RESNET_CORRUPT', message, { cause })
  }
}

function asVectors({ images, shape: [, , c], data }: Output): AnyTensor<'float32'> {
  return adopted(data, [images, c], 'nchw') as AnyTensor<'float32'>
}

function asMaps({ images, shape: [h, w, c], data }: Output): AnyTensor<'float32'> {
  return adopted(data, [images, c, h, w], 'nchw') as AnyTensor<'float32'>
}
