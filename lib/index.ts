export type { DeviceCeilings, DeviceMemoryUse, ExplainRow } from '../binding.js'
export type { Architecture, ArchitectureOptions, BlockKind, StemKind } from './architecture/spec.js'
export type { Outcome, Percentiles } from './batching/recorder.js'
export type { BatchTrace, CallTrace } from './batching/tracing.js'
export type { ComputeDType, Device, DeviceExplanation } from './device.js'
export type { ModelMemory } from './engine.js'
export { ResNetError, type ResNetErrorCode } from './errors.js'
export type { ImageLimits } from './image/source.js'
export type { ImageInput, ImageSize, Preprocessing, RawPixels } from './image/types.js'
export type {
  CallOptions,
  ClassifyOptions,
  ClassifyStreamOptions,
  CreateOptions,
  ExplainOptions,
  HostCallOptions,
  LoadOptions,
  LoadProgress,
  ModelOptions,
  StreamOptions,
  TensorCallOptions,
  WarmupOptions,
} from './model-options.js'
export { models } from './models.js'
export * as ops from './ops.js'
export { type Images, type Prediction, ResNet } from './resnet.js'
export type { ModelStats } from './stats.js'
export type { Source, Streamed } from './stream.js'
export {
  type AnyTensor,
  type DeviceTensor,
  type DType,
  type Float32Tensor,
  type HostTensor,
  type Layout,
  type Place,
  Tensor,
  type TensorConstructor,
  type TensorData,
  type TensorOptions,
  type TransferOptions,
} from './tensor.js'
export type { WeightsSource } from './weights/source.js'
