/** What a benchmark measures, as data, and what it writes: the JSON of `resnet bench --output`. */

export const resultFormat = 'resnet-bench'
/** Rises when a field changes its meaning; `bench compare` and `bench report` refuse others. */
export const resultVersion = 1

export interface Network {
  /** 'resnet50', or the checkpoint's architecture. */
  name: string
  channels: number
  height: number
  width: number
  /** A .safetensors file; absent: random weights of that architecture. */
  checkpoint?: string
  /** The same network for the peers that read ONNX. */
  onnx?: string
}

/**
 * How calls arrive. `closed`: the next when the last has ended. `open`: by a Poisson process at `share` of the images a
 * second that the closed loop of the same trial reached, one image a call, latency counted from the intended start.
 * `rate`: the same at so many images a second, which a slow driver may not reach.
 */
export type Load = { kind: 'closed' } | { kind: 'open'; share: number } | { kind: 'rate'; perSecond: number }

export interface Trial {
  network: Network
  device: string
  dtype: string
  /** Images of one call; of an open loop the most that are run together. */
  batch: number
  /** 0: what the machine grants. */
  threads: number
  load: Load
  /** Batches that run at once, each for a caller of its own in a closed loop; absent: one caller, and batches as the driver runs them. */
  lanes?: number
  /** Encoded images, by their files, instead of tensors: `classify`, from bytes to labels. */
  images?: string[]
  /** A server under HTTP instead of a model in the process. */
  http?: HttpTarget
}

/** A server that answers an image in the body of a POST request. */
export interface HttpTarget {
  /** The address to post to; of a server that the benchmark starts, its path alone: '/classify'. */
  url: string
  /** A Node.js program, started afresh for every round; it listens on $PORT and prints its http:// address. */
  server?: string
  /** Requests that are under way at once in a closed loop. */
  connections: number
}

/**
 * One round of one driver in a process of its own. Times in milliseconds, memory in MB (2^20 bytes). What cannot be read,
 * as the memory of a server that somebody else runs or the event loop of a peer in Python, is NaN, in JSON null.
 */
export interface Measured {
  imagesPerSecond: number
  calls: number
  latencyMs: Percentiles
  /** How late a 1 ms timer fired meanwhile: 99th percentile less the interval. */
  eventLoopP99Ms: number
  /** Processor time of all threads, waiting ones that spin included. */
  cpuMsPerImage: number
  /** From opening the weights to the first result. */
  loadMs: number
  /** Largest resident size up to the first result, and in all. */
  loadPeakMb: number
  peakMb: number
  /**
   * Of a model on a GPU, when the round was over: what the models of its process have there, and the driver's own count of
   * all that the process has there, NaN where it does not say.
   */
  deviceMb?: number
  deviceDriverMb?: number
  /** Open loop: calls a second that were meant to arrive, and calls that were refused. */
  offeredPerSecond?: number
  refused?: number
  /** How long it warmed up, and whether its speed was steady in the end. */
  warmUpMs?: number
  steady?: boolean
  /** Where the time of an image went. */
  stages?: Stages
}
/** Means of an image, in milliseconds: they add up to the mean call. */
export interface Stages {
  /** Waiting for a place in a batch. */
  queueMs: number
  /** Reading, decoding and resizing. */
  decodeMs: number
  /** The run of the batch that it was in. */
  computeMs: number
  /** What else the call took: hand-over between threads, results, JavaScript. */
  restMs: number
  /** Images of a batch. */
  meanBatch: number
}
export interface Percentiles {
  p50: number
  p90: number
  p99: number
  p999: number
  max: number
}

export interface DriverResult {
  driver: string
  version: string
  settings: Record<string, unknown>
  rounds: Measured[]
  /** Why it did not run. */
  error?: string
  /** Of a peer: max |difference| / max |logit| of its first result and this package's. */
  logitsError?: number
}
export interface TrialResult extends Trial {
  name: string
  drivers: DriverResult[]
  /**
   * Images a second that the ceilings of this machine allow: every step at its own bound; on a GPU without those that read
   * images and write results. With `--limits`.
   */
  boundPerSecond?: number
}

export interface Machine {
  cpu: string
  cpus: number
  available: number
  memoryGb: number
  platform: string
  kernel: string
  node: string
  /** Instruction set that this package uses, or why it would not run. */
  isa: string
  clockMhz?: number
  /** The highest clock that the system admits to, and whether it may be exceeded for a while. */
  maxClockMhz?: number
  boost?: boolean
  governor?: string
  loadBefore: number
  /** By nvidia-smi; absent where there is none. */
  gpus?: Gpu[]
}
export interface Gpu {
  name: string
  driver: string
  memoryMb: number
  /** Of the multiprocessors: when the benchmark began, and the highest. */
  clockMhz: number
  maxClockMhz: number
  powerLimitWatts: number
}

export interface Results {
  format: typeof resultFormat
  version: typeof resultVersion
  date: string
  machine: Machine
  rounds: number
  seconds: number
  trials: TrialResult[]
  limits?: Limit[]
  layers?: LayerTable[]
  /** Peers that were not asked for: their version, or 'not installed'. */
  otherPeers?: Record<string, string>
}

/** A ceiling of this machine: of the CPU measured, of a GPU as it tells it. */
export interface Limit {
  name: string
  /** NaN, in JSON null: the GPU does not tell. */
  value: number
  unit: string
  /** 0: of a GPU. */
  threads: number
  gpu?: LimitSource
}
/** Whose ceiling it is, and where the figure comes from. */
export interface LimitSource {
  /** 'cuda:0' */
  device: string
  /** 'NVIDIA H200' */
  name: string
  /** 'theoretical: …' from the card's clocks, or 'measured: …' from a results file. */
  source: string
}

export interface LayerTable {
  network: string
  batch: number
  /** 0: on a GPU. */
  threads: number
  rows: Layer[]
}
export interface Layer {
  step: string
  implementation: string
  /** 0: not measured. Then rates are NaN, in JSON null. */
  milliseconds: number
  gflops: number
  gigabytesPerSecond: number
  /** Share of the time that arithmetic and memory need at least, 0 to 1; absent without `--limits`. */
  bound?: number
}
