/**
 * The native addon's whole surface: the only door between TypeScript and C++.
 *
 * Every method runs on the JavaScript thread and returns at once; promises settle on it. A promise rejects
 * with a NativeError, or with `code: 'ABORTED'` when its control was cancelled (the facade then rejects with the
 * signal's own reason). Handles belong to the environment (worker thread) that made them. All are released when
 * disposed or garbage collected; a disposed handle rejects with ERR_RESNET_DISPOSED.
 */

declare const brand: unique symbol

/** Cancels the calls that it was given to. */
export interface Control {
  readonly [brand]: 'Control'
  cancel(): void
}
/** An open checkpoint: a file held open, or bytes owned. */
export interface Checkpoint {
  readonly [brand]: 'Checkpoint'
  /** Resolves once what nothing else holds is freed. Idempotent. Weights made from it stay usable. */
  dispose(): Promise<void>
}
/** Parameters by name, and the packed store shared by every program compiled from them. */
export interface Weights {
  readonly [brand]: 'Weights'
  /** Resolves once what nothing else holds is freed. Idempotent. */
  dispose(): Promise<void>
}
/** A plan compiled for a device, options and maximum batch; immutable. */
export interface Program {
  readonly [brand]: 'Program'
  readonly info: ProgramInfo
  explain(): ExplainRow[]
  /** Allocates the arena off the JavaScript thread. */
  createLane(): Promise<Lane>
  /** Resolves once what nothing else holds is freed: after its lanes. Idempotent. */
  dispose(): Promise<void>
}
/** One queue of work on a program. */
export interface Lane {
  readonly [brand]: 'Lane'
  /**
   * Runs one batch. `inputs[i]` holds the pieces of the plan's input i: one view per caller, whole images, dense; the
   * images of every input add up to `batch`. Outputs are filled in the same way. The views' buffers are borrowed
   * (kept alive) until the promise settles; they must not be detached meanwhile. Resizable ArrayBuffers are refused,
   * shared ones taken. A program of a device takes that device's memory too.
   */
  run(call: RunCall): Promise<void>
  /** Waits for what was submitted. Idempotent. */
  dispose(): Promise<void>
}

/** A library with a backend of its own. It stays open until the process ends. */
export interface Plugin {
  readonly [brand]: 'Plugin'
  readonly info: PluginInfo
  /** May load a driver and start devices. Never rejects: what is missing is in `reason`. */
  probe(): Promise<Probe>
  /** Rejects: UNAVAILABLE, OUT_OF_MEMORY. */
  openDevice(call: { index: number; memoryLimit: number }): Promise<Device>
  /** What is alive on the plugin's side, in the process. */
  liveCounts(): PluginCounts
  dispose(): void
}
/** A device's backend. Programs and memory made with it keep it, also when it is disposed. */
export interface Device {
  readonly [brand]: 'Device'
  memory(): DeviceMemoryUse
  /** Rejects: OUT_OF_MEMORY. */
  allocate(call: { bytes: number }): Promise<DeviceMemory>
  /** Resolves once what nothing else holds is freed. Idempotent. */
  dispose(): Promise<void>
}
/** Memory on a device; in use by a run, it is freed after that. */
export interface DeviceMemory {
  readonly [brand]: 'DeviceMemory'
  readonly info: DeviceMemoryInfo
  /** As many bytes as there are; the view is borrowed until the promise settles. */
  upload(call: { from: DeviceView; control?: Control }): Promise<void>
  download(call: { to: DeviceView; control?: Control }): Promise<void>
  dispose(): void
}

/** A decoded image, with what becomes of it; in use by a run, it is freed after that. */
export interface Picture {
  readonly [brand]: 'Picture'
  dispose(): void
}

export type DeviceView = Float32Array | Int32Array | Uint16Array | Uint8Array
export interface PluginInfo {
  /** 'cuda' */
  kind: string
  version: string
  path: string
}
export interface Probe {
  devices: DeviceInfo[]
  /** Versions and the file; '' where not found. */
  driver: string
  runtime: string
  cudnn: string
  cudnnPath: string
  /** Version of the driver's management library, libnvidia-ml.so.1; '' with the reason where it cannot be asked. */
  nvml: string
  nvmlReason: string
  /** Why no device can be used; '' when one can. */
  reason: string
}
export interface DeviceInfo {
  index: number
  name: string
  uuid: string
  /** Compute capability: '9.0'. */
  capability: string
  multiprocessors: number
  memoryBytes: number
  freeBytes: number
  mig: boolean
  ceilings: DeviceCeilings
  /** In use by this process, as the driver counts it; 0: not known. */
  processBytes: number
}
/** The most that a device does in a second; 0: not known. */
export interface DeviceCeilings {
  /** Read and written. */
  bytesPerSecond: number
  /** FLOP of dense matrix products by dtype of the operands, sums in float32. */
  float16: number
  bfloat16: number
  tf32: number
  float32: number
  /** 'theoretical: …' from the card's clocks, 'measured: …' from a results file, or why it is not known. */
  source: string
}
/** Bytes in use; `limit` 0: no cap. */
export interface DeviceMemoryUse {
  weights: number
  arenas: number
  tensors: number
  staging: number
  limit: number
  /**
   * Of all that this process has on the device, as the driver counted it when a program or a lane was last made; 0 with
   * the reason where it could not be asked.
   */
  process: number
  processReason: string
}
export interface DeviceMemoryInfo {
  bytes: number
  /** The pointer. */
  address: bigint
}
export interface PluginCounts {
  backends: number
  weights: number
  programs: number
  lanes: number
  buffers: number
  submissions: number
}

export type Isa = 'portable' | 'avx2' | 'avx512'
/** Uint16Array: the bits of float16 or bfloat16, whichever the plan's input is. */
export type InputView = Float32Array | Uint16Array | Uint8Array
export type OutputView = Float32Array | Int32Array
/** Bytes [offset, offset + bytes) of a device's memory: whole images, dense. */
export interface DevicePiece {
  memory: DeviceMemory
  offset: number
  bytes: number
}
/** One image of an input that resizes. */
export interface PicturePiece {
  picture: Picture
}
export interface RunCall {
  batch: number
  inputs: (InputView | DevicePiece | PicturePiece)[][]
  outputs: (OutputView | DevicePiece)[][]
  control?: Control
}
export interface ProgramInfo {
  /** An Isa, or a GPU's compute capability: 'sm_90'. */
  isa: string
  threads: number
  maxBatch: number
  arenaBytes: number
  weightBytes: number
}
export interface ExplainRow {
  step: string
  kind: string
  implementation: string
  refused: string[]
  /** Per image; a multiply-add counts 2. */
  flop: number
  /** Per image: each tensor once, weights included. */
  bytes: number
  /**
   * CPU: of the last run. CUDA: of the step alone, for all images of a track, as it was measured at compile; its last row,
   * of kind 'schedule', is the batch as a whole. 0: not measured.
   */
  milliseconds: number
  /** Scratch memory of the implementation. */
  workspaceBytes: number
  /** The least by the device's ceilings, of as many images as `milliseconds`; 0: not known. */
  ceilingMilliseconds: number
  /** Of the roofline: ceilingMilliseconds over milliseconds; 0 where one of them is not known. */
  share: number
}
export interface TensorEntry {
  name: string
  /** The file's word: 'F32', 'F16', 'BF16', 'I64', … */
  dtype: string
  shape: number[]
}
export interface CheckpointListing {
  checkpoint: Checkpoint
  tensors: TensorEntry[]
  metadata: Record<string, string>
}
export interface FormulaTensor {
  name: string
  shape: number[]
  /** Uniform in [lo, hi); see native/core/weights.h for the formula. */
  lo: number
  hi: number
}
export interface OwnedTensor {
  name: string
  shape: number[]
  dtype: 'float32' | 'float16' | 'bfloat16'
  data: Float32Array | Uint16Array
}
export interface CompileCall {
  /** JSON text of lib/graph/plan.ts. */
  plan: string
  weights: Weights
  maxBatch: number
  /** 0: what affinity and cgroup quota allow. */
  threads: number
  float32Precision: 'highest' | 'high' | 'tf32'
  /** Absent: RESNET_ISA, else the best that the host has. */
  isa?: Isa
  /** Absent: the CPU. The rest is for devices; see native/core/backend.h. */
  device?: Device
  deterministic?: boolean
  autotune?: 'off' | 'quick' | 'full'
  graphs?: boolean
  tracks?: 'auto' | '1' | '2'
  tileOrder?: 'auto' | 'forward' | 'alternate'
  /** Bytes. */
  workspaceLimit?: number
  /** A folder. */
  engineCache?: string
  control?: Control
}
/** Where the wanted window lies in one direction: pixels [from, from + length) of the resized image go to `to`. */
export interface ImageWindow {
  from: number
  length: number
  to: number
}
/** An image of `width` x `height` pixels that becomes the input of a network of 1 or 3 channels. */
export interface ImageCall {
  width: number
  height: number
  resizedWidth: number
  resizedHeight: number
  interpolation: 'bilinear' | 'bicubic'
  x: ImageWindow
  y: ImageWindow
  /**
   * [mean.length, outputHeight, outputWidth] normalised, or [outputHeight, outputWidth, mean.length] levels as they are;
   * borrowed like the bytes until the promise settles.
   */
  output: Float32Array | Uint8Array
  outputWidth: number
  outputHeight: number
  mean: readonly number[]
  std: readonly number[]
  /** At most `threads` images of one line, which is a number from 1 on, are prepared at once. Absent: line 1, and as CpuInfo says. */
  line?: number
  threads?: number
  control?: Control
}
/** An image that becomes a picture: without the output. */
export type PictureCall<Call extends ImageCall> = Omit<Call, 'output'>
export interface JpegCall extends ImageCall {
  /** Path of a libturbojpeg. */
  library: string
  bytes: Uint8Array
  /** Decode at half the size in the DCT. */
  halved: boolean
}
export interface PixelsCall extends ImageCall {
  /** Rows from the top, interleaved: [height, width, channels]. */
  pixels: Uint8Array
  /** 1 (grey), 3 (RGB) or 4 (CMYK). */
  channels: number
}
export interface CpuInfo {
  model: string
  /** What would be used: RESNET_ISA or the best. Absent when RESNET_ISA names what the host lacks. */
  isa?: Isa
  tiers: { isa: Isa; supported: boolean; reason: string }[]
  /** Default thread count, and where it comes from ('affinity 2, cgroup quota 1.5'). */
  threads: number
  threadsFrom: string
  /** Images prepared at once where a call does not say: RESNET_IMAGE_THREADS, else `threads`; 0 when that variable is no number. */
  imageThreads: number
  l2Bytes: number
  l3Bytes: number
}
/** A ceiling of this machine. */
export interface MeasuredLimit {
  name: string
  value: number
  /** 'GFLOP/s float32', 'GFLOP/s bfloat16', 'GOP/s int8' or 'GB/s' (read and written). */
  unit: string
  threads: number
}
/** For tests and stats(): what is alive in the process. */
export interface Counters {
  poolThreads: number
  /** Environments that hold the pool. */
  poolUsers: number
  checkpoints: number
  weights: number
  programs: number
  lanes: number
  devices: number
  deviceMemories: number
  pictures: number
  runsInFlight: number
}
export interface NativeError extends Error {
  code: string
  /** Name of the failing step of the plan, when there is one. */
  step?: string
}

export interface Binding {
  readonly version: string
  /** Every public code of native/core/status.h. */
  readonly errorCodes: string[]
  cpuInfo(): CpuInfo
  counters(): Counters
  /** Measures for some seconds on 1 and on `threads` threads of its own. */
  measureLimits(call: { threads: number; control?: Control }): Promise<MeasuredLimit[]>
  createControl(): Control
  /** Exactly one of path and bytes (copied). Rejects: IO, CORRUPT. */
  openCheckpoint(call: { path?: string; bytes?: Uint8Array; control?: Control }): Promise<CheckpointListing>
  /** `names`: parameter name of the plan → tensor name of the checkpoint. */
  weightsFromCheckpoint(call: { checkpoint: Checkpoint; names: Record<string, string> }): Weights
  /** Copies. */
  weightsFromTensors(call: { tensors: OwnedTensor[] }): Weights
  weightsFromFormula(call: { seed: number; tensors: FormulaTensor[] }): Weights
  /** Throws UNAVAILABLE when there is no libturbojpeg of API 3 at `path`. It stays open. */
  openJpegLibrary(call: { path: string }): void
  /**
   * Decodes, resizes as Pillow does to the bit, cuts the window out, converts the colours as PIL and normalises, on a
   * thread for images. Rejects: IMAGE (damaged, or not of this width and height), UNSUPPORTED (CMYK, more than 8 bits,
   * lossless), OUT_OF_MEMORY, UNAVAILABLE.
   */
  prepareJpeg(call: JpegCall): Promise<void>
  /** The same of decoded pixels. Rejects: OUT_OF_MEMORY. */
  preparePixels(call: PixelsCall): Promise<void>
  /**
   * The same decoding and colours, as a picture for a plan's input with `resize`: it keeps the pixels that the window is
   * made of. Reject as those above.
   */
  decodeJpeg(call: PictureCall<JpegCall>): Promise<Picture>
  decodePixels(call: PictureCall<PixelsCall>): Promise<Picture>
  /** The file of NVIDIA's driver (libcuda.so.1) as the loader finds it, '' where there is none. */
  nvidiaDriver(): string
  /** Opens a plugin's library. Rejects: UNAVAILABLE, saying why it is none that this addon can use. */
  openPlugin(call: { path: string }): Promise<Plugin>
  /** Reads, folds and packs off the JavaScript thread. Rejects: INVALID_ARGUMENT, MISMATCH, CORRUPT, IO, OUT_OF_MEMORY. */
  compile(call: CompileCall): Promise<Program>
}
