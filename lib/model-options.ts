import type { ArchitectureOptions } from './architecture/spec.js'
import type { LanesOption } from './batching/lanes.js'
import type { Device } from './device.js'
import { defaultImageLimits, type ImageLimits } from './image/source.js'
import type { Preprocessing } from './image/types.js'
import * as option from './options.js'

export interface CallOptions {
  /** Aborting rejects at once with the signal's reason; what waits leaves the queue, and a batch that nobody else shares stops. */
  signal?: AbortSignal
  /** Of two waiting calls the one with the higher number runs first; equal ones run in order. An integer, default 0. */
  priority?: number
}
/** Of calls that give tensors. */
export interface TensorCallOptions extends CallOptions {
  /** 'device' leaves the result in the memory of the model's device. Default 'host'. */
  output?: 'host' | 'device'
}
/** The same where the result is in the host's memory. */
export interface HostCallOptions extends TensorCallOptions {
  output?: 'host'
}
export interface ClassifyOptions extends CallOptions {
  /** How many classes to name, at most as many as there are. Default 5. */
  topK?: number
}
export interface StreamOptions extends CallOptions {
  /**
   * Images that are read, decoded or run at once. Default: as many as are decoded ahead of the network, two batches for every
   * lane, 16 at least, and with many `imageThreads` two for each beside a batch for every lane.
   */
  concurrency?: number
}
export interface ClassifyStreamOptions extends StreamOptions {
  /** How many classes to name, at most as many as there are. Default 5. */
  topK?: number
}
export interface WarmupOptions {
  signal?: AbortSignal
  height: number
  width: number
  /** Batch sizes, up to maxBatch. Default [1]. */
  batches?: readonly number[]
  /** What will be called: 'forward' with a float32 tensor of layout 'nchw', the others with images. Default 'classify', without a head 'embed'. */
  method?: 'classify' | 'forward' | 'embed'
}

export interface ExplainOptions extends CallOptions {
  height: number
  width: number
  /** Default 1. */
  batch?: number
}

export interface ModelOptions {
  /** 'cuda' is the first GPU, 'cuda:1' the one of that index. Default 'auto': a GPU when one works, else the CPU. */
  device?: Device
  /** In which the network computes; results are float32. Default 'float16' on CUDA, 'float32' on the CPU. */
  dtype?: 'float32' | 'float16' | 'bfloat16' | 'int8'
  /** Default 'high': any algorithm within 2e-5 of an exact computation. 'highest': plain multiply-adds only. */
  float32Precision?: 'highest' | 'high' | 'tf32'
  /** Default 0: what affinity and cgroup quota allow. */
  threads?: number
  /**
   * Images that are decoded and resized at once, in threads of their own beside those of the network. Default 0: what the
   * environment variable RESNET_IMAGE_THREADS says, else as many as `threads`: whichever of both has less to do sleeps.
   */
  imageThreads?: number
  /** Images that run at once: of one call, which is split when it has more, or of several. Default 8. */
  maxBatch?: number
  /**
   * How long a batch that is not full waits for more images, in milliseconds. Default 0: an idle model runs what there
   * is, and a busy one fills its next batch meanwhile. While more images are being prepared than `imageThreads`, a batch
   * waits up to 5 ms for them in any case.
   */
  maxDelayMs?: number
  /** Images that may wait; a call that does not fit is refused with ERR_RESNET_QUEUE_FULL. Default: no limit. */
  maxQueue?: number
  /**
   * Batches that run at once. 'latency': one, with all threads. 'throughput': one a thread, each with a thread of its own; on
   * a GPU two, so that copies overlap. 'auto' (default): on the CPU one while fewer than two full batches wait, and as many
   * as wait, up to 8 or so, where there are more; on a GPU one. Or their number; on the CPU they share the threads.
   */
  lanes?: LanesOption
  /** CUDA: bytes of the GPU's memory that models under the same limit may take together. Default: no limit. */
  memoryLimit?: number
  /** CUDA: bytes of scratch memory that one engine of cuDNN may ask for. Default 256 MiB. */
  workspaceLimit?: number
  /** CUDA: the same results to the bit from run to run; engines are chosen by a fixed order. Default false. */
  deterministic?: boolean
  /** CUDA: how long to look for the fastest engines. 'off': not at all, by a fixed order. Default 'quick'. */
  autotune?: 'off' | 'quick' | 'full'
  /** CUDA: launch a batch as one captured graph. Default true. */
  graphs?: boolean
  /**
   * CUDA: run a batch whole, or as two halves side by side, one of them half a network ahead. Default 'auto': with
   * `autotune`, batches of 64 images and more are timed both ways; all else runs whole.
   */
  tracks?: 1 | 2 | 'auto'
  /**
   * CUDA: the order in which our own kernels take the images of a batch: all forward, or each against what it reads.
   * Default 'auto': timed both ways with `autotune`, otherwise forward. Results are the same bits.
   */
  tileOrder?: 'auto' | 'forward' | 'alternate'
  /** CUDA: folder that keeps compiled engines; false: none. Default resnet/engines in the user's cache folder. */
  engineCache?: string | false
  /** One name per class. */
  labels?: readonly string[]
  /** Fields that replace those of the checkpoint's preset. */
  preprocess?: Partial<Omit<Preprocessing, 'source'>>
  /**
   * Where images are resized and cropped, once they are decoded: 'host' (default), or the model's 'device', which gives the
   * same levels. Worth it where the host's processor is what limits; decoded images are uploaded whole, as far as the crop
   * needs them. A model on the CPU does the same either way.
   */
  preprocessOn?: 'host' | 'device'
  /** Turn images as their EXIF orientation says. Default false, as PIL and torchvision. */
  autoOrient?: boolean
  /**
   * Decode a JPEG that shrinks threefold or more at half its size: quicker, and no longer exactly what PIL makes of it
   * (0.2 to 0.6 levels of 255 off on average). Default false. Only where libturbojpeg decodes: see `resnet doctor`.
   */
  jpegScaling?: boolean
  imageLimits?: Partial<ImageLimits>
  signal?: AbortSignal
}
export interface LoadOptions extends ModelOptions {
  /** A family's name or a spec. Default: identified from the checkpoint. */
  architecture?: string | ArchitectureOptions
  /** 8, 16 or 32: dilate instead of striding beyond it. */
  outputStride?: number
  onProgress?: (progress: LoadProgress) => void
}
export interface CreateOptions extends ModelOptions {
  /** Default 0. */
  seed?: number
  numClasses?: number
  inChannels?: number
  outputStride?: number
}
export interface LoadProgress {
  phase: 'opening' | 'identifying' | 'ready'
  /** 0 to 1. */
  fraction: number
}

const isObject = (value: unknown) => typeof value === 'object' && value !== null && !Array.isArray(value)
const positive = option.integer(1, Number.MAX_SAFE_INTEGER)
const device = option.matching<Device>("'auto', 'cpu', 'cuda' or 'cuda:N'", /^(auto|cpu|cuda(:\d{1,3})?)$/)
const text = option.value<string>('a string', (value) => typeof value === 'string')
const limits = option.value<Partial<ImageLimits>>(
  'an object { maxPixels, maxUrlBytes, urlTimeoutMs }',
  isObject,
)
const lanes = option.value<LanesOption>(
  "'auto', 'latency', 'throughput' or an integer from 1 to 1024",
  (value) =>
    ['auto', 'latency', 'throughput'].includes(value as string) || option.integer(1, 1024).accepts(value),
)

export const modelTable = {
  device: option.defaulting(device, 'auto'),
  dtype: option.oneOf('float32', 'float16', 'bfloat16', 'int8'),
  float32Precision: option.defaulting(option.oneOf('highest', 'high', 'tf32'), 'high' as const),
  threads: option.defaulting(option.integer(0, 1024, ' (0: what the machine grants)'), 0),
  imageThreads: option.defaulting(
    option.integer(0, 1024, ' (0: RESNET_IMAGE_THREADS, else as many as threads)'),
    0,
  ),
  maxBatch: option.defaulting(option.integer(1, 1024), 8),
  maxDelayMs: option.defaulting(option.number(0, 60_000), 0),
  maxQueue: option.defaulting(positive, Number.MAX_SAFE_INTEGER),
  lanes: option.defaulting(lanes, 'auto' as const),
  memoryLimit: option.defaulting(option.integer(0, Number.MAX_SAFE_INTEGER, ' (bytes; 0: no limit)'), 0),
  workspaceLimit: option.defaulting(option.integer(0, Number.MAX_SAFE_INTEGER, ' (bytes)'), 256 * 2 ** 20),
  deterministic: option.defaulting(option.boolean, false),
  autotune: option.defaulting(option.oneOf('off', 'quick', 'full'), 'quick' as const),
  graphs: option.defaulting(option.boolean, true),
  tracks: option.defaulting(option.oneOf<1 | 2 | 'auto'>(1, 2, 'auto'), 'auto' as const),
  tileOrder: option.defaulting(option.oneOf('auto', 'forward', 'alternate'), 'auto' as const),
  engineCache: option.value<string | false>(
    'the path of a folder, or false',
    (value) => value === false || (typeof value === 'string' && value !== ''),
  ),
  labels: option.list(text, 1, 1_000_000),
  preprocess: option.value<NonNullable<ModelOptions['preprocess']>>('an object', isObject),
  preprocessOn: option.defaulting(option.oneOf('host', 'device'), 'host' as const),
  autoOrient: option.defaulting(option.boolean, false),
  jpegScaling: option.defaulting(option.boolean, false),
  imageLimits: limits,
  signal: option.signal,
}
const outputStride = option.oneOf(8, 16, 32)
export const loadTable = {
  ...modelTable,
  architecture: option.value<string | ArchitectureOptions>(
    "a name such as 'resnet50' or a spec { block, depths, … }",
    (value) => typeof value === 'string' || isObject(value),
  ),
  outputStride,
  onProgress: option.callback<(progress: LoadProgress) => void>('a function'),
}
export const createTable = {
  ...modelTable,
  seed: option.defaulting(option.integer(0, Number.MAX_SAFE_INTEGER), 0),
  numClasses: option.integer(0, 1_000_000, ' (0: no head)'),
  inChannels: option.integer(1, 65_536),
  outputStride,
}
export const limitsTable = {
  maxPixels: option.defaulting(positive, defaultImageLimits.maxPixels),
  maxUrlBytes: option.defaulting(positive, defaultImageLimits.maxUrlBytes),
  urlTimeoutMs: option.defaulting(option.integer(1, 2 ** 31 - 1), defaultImageLimits.urlTimeoutMs),
}
export const callTable = {
  signal: option.signal,
  priority: option.defaulting(option.integer(-(2 ** 31), 2 ** 31 - 1), 0),
}
export const tensorTable = {
  ...callTable,
  output: option.defaulting(option.oneOf('host', 'device'), 'host' as const),
}
export const classifyTable = { ...callTable, topK: option.defaulting(positive, 5) }
export const streamTable = { ...callTable, concurrency: option.integer(1, 65_536) }
export const classifyStreamTable = { ...streamTable, topK: classifyTable.topK }
export const warmupTable = {
  signal: option.signal,
  height: option.integer(1, 65_536),
  width: option.integer(1, 65_536),
  batches: option.list(option.integer(1, 1024), 1, 64),
  method: option.oneOf('classify', 'forward', 'embed'),
}

export const explainTable = {
  ...callTable,
  height: warmupTable.height,
  width: warmupTable.width,
  batch: option.defaulting(option.integer(1, 1024), 1),
}

export type ModelValues = option.Values<typeof modelTable>
