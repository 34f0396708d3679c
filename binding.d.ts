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
  /** Idempotent. Weights made from it stay usable. */
  dispose(): void
}
/** Parameters by name, and the packed store shared by every program compiled from them. */
export interface Weights {
  readonly [brand]: 'Weights'
  dispose(): void
}
/** A plan compiled for a device, options and maximum batch; immutable. */
export interface Program {
  readonly [brand]: 'Program'
  readonly info: ProgramInfo
  explain(): ExplainRow[]
  /** Allocates the arena off the JavaScript thread. */
  createLane(): Promise<Lane>
  dispose(): void
}
/** One queue of work on a program. */
export interface Lane {
  readonly [brand]: 'Lane'
  /**
   * Runs one batch. `inputs[i]` holds the pieces of the plan's input i: one view per caller, whole images, dense; the
   * images of every input add up to `batch`. Outputs are filled in the same way. The views' buffers are borrowed
   * (kept alive) until the promise settles; they must not be detached meanwhile. Resizable ArrayBuffers are refused,
   * shared ones taken.
   */
  run(call: RunCall): Promise<void>
  /** Waits for what was submitted. Idempotent. */
  dispose(): Promise<void>
}

export type Isa = 'portable' | 'avx2' | 'avx512'
export type InputView = Float32Array | Uint8Array
export type OutputView = Float32Array | Int32Array
export interface RunCall {
  batch: number
  inputs: InputView[][]
  outputs: OutputView[][]
  control?: Control
}
export interface ProgramInfo {
  isa: Isa
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
  /** Of the last profiled run; 0 when none was. */
  milliseconds: number
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
  float32Precision: 'highest' | 'high'
  /** Absent: RESNET_ISA, else the best that the host has. */
  isa?: Isa
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
  /** [mean.length, outputHeight, outputWidth]; borrowed like the bytes until the promise settles. */
  output: Float32Array
  outputWidth: number
  outputHeight: number
  mean: readonly number[]
  std: readonly number[]
  control?: Control
}
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
  /** Images prepared at once: RESNET_IMAGE_THREADS, else `threads`; 0 when that variable is no number. */
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
  /** Reads, folds and packs off the JavaScript thread. Rejects: INVALID_ARGUMENT, MISMATCH, CORRUPT, IO, OUT_OF_MEMORY. */
  compile(call: CompileCall): Promise<Program>
}
