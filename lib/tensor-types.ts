import type { CudaName } from './native/devices.js'

export type DType = 'float32' | 'float16' | 'bfloat16' | 'uint8' | 'int32'
export type Layout = 'nchw' | 'nhwc'
/** float16 and bfloat16 are held as their bits. */
export type TensorData = Float32Array | Uint16Array | Uint8Array | Int32Array
/** Where a tensor's memory is, as its type knows it. */
export type Place = 'cpu' | 'cuda'

/** What holds the elements of a dtype in the host's memory. */
export interface DataOf {
  float32: Float32Array
  float16: Uint16Array
  bfloat16: Uint16Array
  uint8: Uint8Array
  int32: Int32Array
}

export interface TensorOptions {
  /** How `data` orders a shape of four dimensions. Default 'nchw'; `shape` is N, C, H, W either way. */
  layout?: Layout
  /** Needed for a Uint16Array, which holds 'float16' or 'bfloat16' bits; otherwise follows from `data`. */
  dtype?: DType
  /** Take the buffer over without a copy; the caller's arrays over it become empty. Default false. */
  transfer?: boolean
}

export interface TransferOptions {
  /** Aborting rejects with the signal's reason; a copy that is under way ends first. */
  signal?: AbortSignal
}

/** What every tensor has, wherever its memory is. */
interface TensorBase<D extends DType> {
  /** N, C, H, W of images and feature maps, whatever the layout; N, D of logits and embeddings. */
  readonly shape: readonly number[]
  readonly dtype: D
  readonly layout: Layout
  /** Elements: the product of `shape`. */
  readonly size: number

  /**
   * The tensor in the memory of 'cpu', 'cuda' (the first GPU) or 'cuda:N': itself when it is there already, else a copy.
   * dtype and layout stay. The first use opens the device for the rest of the thread.
   * @throws ERR_RESNET_UNAVAILABLE for a device that is not there; ERR_RESNET_OUT_OF_MEMORY; ERR_RESNET_DISPOSED;
   * ERR_RESNET_INVALID_ARGUMENT; the signal's reason.
   * @example
   * using pixels = await Tensor.from(bytes, [1, 3, 224, 224], { layout: 'nhwc' }).to('cuda')
   */
  to(device: 'cpu', options?: TransferOptions): Promise<HostTensor<D>>
  to(device: 'cuda' | CudaName, options?: TransferOptions): Promise<DeviceTensor<D>>
  to(device: 'cpu' | 'cuda' | CudaName, options?: TransferOptions): Promise<AnyTensor<D>>

  /** Frees a device's memory, once calls that have it are done; on the CPU it does nothing. Idempotent. */
  dispose(): void
  [Symbol.dispose](): void
}

/** A tensor in the host's memory. */
export interface HostTensor<D extends DType = DType> extends TensorBase<D> {
  readonly device: 'cpu'
  /** Dense, in the order of `layout`; float16 and bfloat16 as bits. */
  readonly data: DataOf[D]
  /** The values as float32: the tensor itself when it is float32 already. uint8 keeps 0 to 255. */
  toFloat32(): HostTensor<'float32'>
  /** The same values with memory ordered as `layout` says: the tensor itself when it is already. */
  toLayout(layout: Layout): HostTensor<D>
}

/** A tensor in a device's memory: it has no `data`, `to('cpu')` copies it. */
export interface DeviceTensor<D extends DType = DType> extends TensorBase<D> {
  readonly device: CudaName
  /**
   * The address of the memory, for other libraries that use the same device. Unsafe: it is valid until the tensor is
   * disposed of or collected, and nothing orders what others do there with what runs here.
   * @throws ERR_RESNET_DISPOSED.
   */
  readonly devicePointer: bigint
}

/**
 * An array of numbers with a shape. A uint8 tensor is pixels wherever one goes in: the model's mean and std are applied.
 * Its memory is lent to running calls: write to `data` only when none has the tensor. By its type a tensor is in the
 * host's memory; `Tensor<D, 'cuda'>` is in a device's, and has no `data`.
 */
export type Tensor<D extends DType = DType, P extends Place = 'cpu'> = P extends 'cpu'
  ? HostTensor<D>
  : DeviceTensor<D>

/** A tensor wherever it is; `device` tells: `if (x.device === 'cpu') x.data`. */
export type AnyTensor<D extends DType = DType> = Tensor<D, Place>

/** What networks and operations give. */
export type Float32Tensor = Tensor<'float32'>

/** The class itself: tensors are made by `from`. */
export interface TensorConstructor {
  readonly prototype: AnyTensor

  /**
   * A tensor of `data`, copied unless `transfer` is set.
   * @param data As many elements as `shape` has; Float32Array, Uint8Array, Int32Array, or Uint16Array with `dtype`.
   * @param shape 1 to 4 dimensions: N, C, H, W (whatever `layout` is) or N, D; a convolution's weight is K, C, R, S.
   * @throws ERR_RESNET_INVALID_ARGUMENT for a shape, length or dtype that do not fit.
   * @example
   * const x = Tensor.from(new Float32Array(2 * 3 * 4 * 4), [2, 3, 4, 4])
   * const pixels = Tensor.from(new Uint8Array(224 * 224 * 3), [1, 3, 224, 224], { layout: 'nhwc' })
   */
  from(data: Float32Array, shape: readonly number[], options?: TensorOptions): Tensor<'float32'>
  from(
    data: Uint8Array | Uint8ClampedArray,
    shape: readonly number[],
    options?: TensorOptions,
  ): Tensor<'uint8'>
  from(data: Int32Array, shape: readonly number[], options?: TensorOptions): Tensor<'int32'>
  from<D extends 'float16' | 'bfloat16'>(
    data: Uint16Array,
    shape: readonly number[],
    options: TensorOptions & { dtype: D },
  ): Tensor<D>
  from(data: TensorData | Uint8ClampedArray, shape: readonly number[], options?: TensorOptions): Tensor
}
