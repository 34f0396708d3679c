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
 */
export type Load = { kind: 'closed' } | { kind: 'open'; share: number }

export interface Trial {
  network: Network
  device: string
  dtype: string
  /** Images of one call; of an open loop the most that are run together. */
  batch: number
  /** 0: what the machine grants. */
  threads: number
  load: Load
}

/** One round of one driver in a process of its own. Times in milliseconds, memory in MB (2^20 bytes). */
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
  /** Open loop: calls a second that were meant to arrive, and calls that were refused. */
  offeredPerSecond?: number
  refused?: number
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
}
export interface TrialResult extends Trial {
  name: string
  drivers: DriverResult[]
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
  governor?: string
  loadBefore: number
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
}

/** A ceiling of this machine, measured. */
export interface Limit {
  name: string
  value: number
  unit: string
  threads: number
}

export interface LayerTable {
  network: string
  batch: number
  threads: number
  rows: Layer[]
}
export interface Layer {
  step: string
  implementation: string
  milliseconds: number
  gflops: number
  gigabytesPerSecond: number
  /** Share of the time that arithmetic and memory need at least, 0 to 1; absent without `--limits`. */
  bound?: number
}
