import { types } from 'node:util'
import { markAsUntransferable } from 'node:worker_threads'
import { invalidArgument, ResNetError, unsupported } from './errors.js'
import { addon, native } from './native/call.js'
import { type CudaName, cudaDevice, type Lease, leaseDevice } from './native/devices.js'
import { DeviceStorage, type StoredPiece, storedPiece } from './native/storage.js'
import {
  boolean,
  check,
  defaulting,
  describe,
  matching,
  oneOf,
  optional,
  readOptions,
  signal,
} from './options.js'
import type {
  AnyTensor,
  DType,
  Layout,
  Place,
  TensorConstructor,
  TensorData,
  TensorOptions,
  TransferOptions,
  Tensor as TypedTensor,
} from './tensor-types.js'

export type * from './tensor-types.js'

const fromTable = {
  layout: defaulting(oneOf('nchw', 'nhwc'), 'nchw' as const),
  dtype: optional(oneOf('float32', 'float16', 'bfloat16', 'uint8', 'int32')),
  transfer: defaulting(boolean, false),
}

/** A tensor has fewer. */
export const maxElements = 2 ** 31

const arrayOf = {
  float32: Float32Array,
  int32: Int32Array,
  uint8: Uint8Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
} as const

/**
 * What `Tensor` is. Its types are those of tensor-types.ts: by them a tensor on a device has no `data`, here it is a getter
 * that throws.
 * @internal
 */
export class TensorObject {
  // The name that errors and inspection show.
  static {
    Object.defineProperty(TensorObject, 'name', { value: 'Tensor' })
  }

  readonly shape: readonly number[]
  readonly dtype: DType
  readonly layout: Layout
  readonly device: 'cpu' | CudaName
  readonly size: number
  private readonly storage: TensorData | DeviceStorage

  private constructor(
    storage: TensorData | DeviceStorage,
    shape: readonly number[],
    dtype: DType,
    layout: Layout,
  ) {
    // Kept out of postMessage's transfer lists: memory moved to another thread could be freed under a running kernel.
    if (!(storage instanceof DeviceStorage)) keepAttached(storage.buffer as ArrayBuffer)
    this.storage = storage
    this.device = storage instanceof DeviceStorage ? storage.device : 'cpu'
    this.size = shape.reduce((product, size) => product * size, 1)
    this.shape = Object.freeze([...shape])
    this.dtype = dtype
    this.layout = layout
  }

  /** A tensor over memory that nobody else holds. */
  static adopt(
    data: Float32Array | Int32Array | DeviceStorage,
    shape: readonly number[],
    layout: Layout,
  ): TensorObject {
    const dtype = Object.prototype.toString.call(data) === '[object Int32Array]' ? 'int32' : 'float32'
    return new TensorObject(data, shape, dtype, layout)
  }

  static from(
    data: TensorData | Uint8ClampedArray,
    shape: readonly number[],
    options?: TensorOptions,
  ): TensorObject {
    const { layout, dtype: asked, transfer } = readOptions('Tensor.from', fromTable, options)
    const elements = checkShape(shape)
    const dtype = dtypeOf(data, asked)
    if (data.length !== elements) {
      throw invalidArgument(
        `Tensor.from: expected data of ${elements} elements for shape [${shape.join(', ')}], received ${data.length}`,
      )
    }
    if (layout === 'nhwc' && shape.length !== 4) {
      throw invalidArgument(
        `Tensor.from: expected 4 dimensions for layout 'nhwc', received [${shape.join(', ')}]`,
      )
    }
    const own = transfer ? takeOver(data) : copyOf(data)
    return new TensorObject(asDType(own, dtype), shape, dtype, layout)
  }

  /** @throws ERR_RESNET_UNSUPPORTED for a tensor in a device's memory: `to('cpu')` copies it. */
  get data(): TensorData {
    if (!(this.storage instanceof DeviceStorage)) return this.storage
    throw unsupported(
      `Tensor.data: expected a tensor on the CPU, received one on ${this.device}; await tensor.to('cpu')`,
    )
  }

  /** @throws ERR_RESNET_UNSUPPORTED on the CPU; ERR_RESNET_DISPOSED. */
  get devicePointer(): bigint {
    if (this.storage instanceof DeviceStorage) return this.storage.live.info.address
    throw unsupported(
      'Tensor.devicePointer: expected a tensor on a device, received one on the CPU; use data',
    )
  }

  toFloat32(): TensorObject {
    if (this.dtype === 'float32') return this
    return new TensorObject(toFloat32(this.data, this.dtype), this.shape, 'float32', this.layout)
  }

  toLayout(layout: Layout): TensorObject {
    const { layout: to } = readOptions(
      'Tensor.toLayout',
      { layout: defaulting(oneOf('nchw', 'nhwc'), layout) },
      { layout },
    )
    if (to === this.layout) return this
    if (this.shape.length !== 4) {
      throw invalidArgument(`Tensor.toLayout: expected 4 dimensions, received [${this.shape.join(', ')}]`)
    }
    const [n, c, h, w] = this.shape as [number, number, number, number]
    // Per image a transpose of [C, H·W]: rows become columns either way.
    const data = transposed(this.data, n, to === 'nhwc' ? c : h * w, to === 'nhwc' ? h * w : c)
    return new TensorObject(data, this.shape, this.dtype, to)
  }

  async to(device: 'cpu' | 'cuda' | CudaName, options?: TransferOptions): Promise<TensorObject> {
    const wish = check('Tensor.to', 'device', deviceRule, device)
    const { signal: abort } = readOptions('Tensor.to', { signal }, options)
    abort?.throwIfAborted()
    if (wish === this.device) return this
    if (wish === 'cpu') return this.toHost(abort)
    const { storage } = this
    if (storage instanceof DeviceStorage) {
      void storage.live
      if (wish === 'cuda') return this
      return (await this.toHost(abort)).to(wish, options)
    }
    const { name, device: target } = await keptDevice(wish)
    const memory = await native(abort, () => target.allocate({ bytes: storage.byteLength }))
    try {
      await native(abort, (control) => memory.upload({ from: storage, control }))
      abort?.throwIfAborted()
    } catch (error) {
      memory.dispose()
      throw error
    }
    return new TensorObject(new DeviceStorage(memory, name), this.shape, this.dtype, this.layout)
  }

  dispose(): void {
    if (this.storage instanceof DeviceStorage) this.storage.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  /** Keeps a device's memory until the returned function is called. */
  hold(): () => void {
    return this.storage instanceof DeviceStorage ? this.storage.hold() : () => {}
  }

  /** Part of a device's memory: `count` elements from `from` on. */
  piece(from: number, count: number): StoredPiece {
    const bytes = arrayOf[this.dtype].BYTES_PER_ELEMENT
    return storedPiece(this.storage as DeviceStorage, from * bytes, count * bytes)
  }

  private async toHost(abort?: AbortSignal): Promise<TensorObject> {
    const memory = (this.storage as DeviceStorage).live
    const data = new arrayOf[this.dtype](this.size)
    await native(abort, (control) => memory.download({ to: data, control }))
    abort?.throwIfAborted()
    return new TensorObject(data, this.shape, this.dtype, this.layout)
  }
}

export const Tensor = TensorObject as unknown as TensorConstructor &
  // For `instanceof` alone: nobody makes one with `new`.
  (abstract new (
    ...values: never
  ) => AnyTensor)
export type Tensor<D extends DType = DType, P extends Place = 'cpu'> = TypedTensor<D, P>

/** @internal A tensor as this package works with it. */
export function objectOf(tensor: AnyTensor): TensorObject {
  return tensor as unknown as TensorObject
}

/** @internal The tensor of a result: over memory that nobody else holds, on the host or a device. */
export function adopted(
  data: Float32Array | Int32Array | DeviceStorage,
  shape: readonly number[],
  layout: Layout,
): AnyTensor {
  return TensorObject.adopt(data, shape, layout) as unknown as AnyTensor
}

const deviceRule = matching<'cpu' | 'cuda' | CudaName>("'cpu', 'cuda' or 'cuda:N'", /^(cpu|cuda(:\d{1,3})?)$/)

/** A device by name; the lease is kept, so that one tensor after another does not open it anew. */
async function keptDevice(wish: string): Promise<Lease> {
  const binding = addon()
  const { plugin, info } = await cudaDevice(binding, wish).catch((cause) => {
    throw new ResNetError('ERR_RESNET_UNAVAILABLE', `Tensor.to: '${wish}' cannot be used; ${cause.message}`, {
      cause,
    })
  })
  const known = kept.get(info.index) ?? leaseDevice(plugin, info.index, 0)
  kept.set(info.index, known)
  known.catch(() => kept.delete(info.index))
  return known
}

const kept = new Map<number, Promise<Lease>>()

/**
 * Memory moved elsewhere could be freed under a running kernel: it is kept out of postMessage's transfer lists, and out of
 * the buffer's own transfer methods, which some versions of Node let pass.
 */
function keepAttached(buffer: ArrayBuffer): void {
  markAsUntransferable(buffer)
  if (!('transfer' in buffer)) return
  const value = () => {
    throw invalidArgument(
      'Tensor: the buffer belongs to a tensor and cannot be transferred; copy it with slice()',
    )
  }
  for (const name of ['transfer', 'transferToFixedLength']) Object.defineProperty(buffer, name, { value })
}

function checkShape(shape: readonly number[]): number {
  const fits = Array.isArray(shape) && shape.length >= 1 && shape.length <= 4
  const dimensions = fits && shape.every((size) => Number.isInteger(size) && size >= 1)
  const elements = dimensions ? shape.reduce((product, size) => product * size, 1) : 0
  if (elements >= 1 && elements < maxElements) return elements
  throw invalidArgument(
    `Tensor.from: expected shape to be 1 to 4 integers of at least 1, fewer than 2^31 elements in all, received ` +
      describe(shape),
  )
}

const arrayNames: Record<string, readonly DType[]> = {
  Float32Array: ['float32'],
  Uint8Array: ['uint8'],
  Uint8ClampedArray: ['uint8'],
  Int32Array: ['int32'],
  Uint16Array: ['float16', 'bfloat16'],
  Float16Array: ['float16'],
}

function dtypeOf(data: unknown, asked: DType | undefined): DType {
  // The tag, unlike the constructor, is the same for Buffer and for arrays of another realm.
  const kind = ArrayBuffer.isView(data) ? ((data as Uint8Array)[Symbol.toStringTag] as string) : ''
  const dtypes = Object.hasOwn(arrayNames, kind) ? (arrayNames[kind] as readonly DType[]) : undefined
  if (dtypes === undefined) {
    throw invalidArgument(
      `Tensor.from: expected data to be a Float32Array, Uint8Array, Int32Array or Uint16Array, received ${describe(data)}`,
    )
  }
  const dtype = asked ?? (dtypes.length === 1 ? dtypes[0] : undefined)
  if (dtype !== undefined && dtypes.includes(dtype)) return dtype
  throw invalidArgument(
    `Tensor.from: expected dtype to be ${dtypes.map((name) => `'${name}'`).join(' or ')} for a ${kind}, received ` +
      describe(asked),
  )
}

function copyOf(data: ArrayBufferView): ArrayBuffer {
  const copy = new ArrayBuffer(data.byteLength)
  new Uint8Array(copy).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  return copy
}

function takeOver(data: ArrayBufferView): ArrayBuffer {
  const { buffer } = data
  const fixed = types.isArrayBuffer(buffer) && !(buffer as { resizable?: boolean }).resizable
  if (!fixed || data.byteLength !== buffer.byteLength) {
    throw invalidArgument(
      `Tensor.from: expected data to be all of an ArrayBuffer of fixed length for transfer, received ${describe(data)} over ` +
        `${buffer.byteLength} bytes; leave transfer out to copy`,
    )
  }
  try {
    return structuredClone(buffer, { transfer: [buffer] })
  } catch (cause) {
    throw invalidArgument('Tensor.from: the buffer cannot be transferred; leave transfer out to copy', {
      cause,
    })
  }
}

function asDType(buffer: ArrayBuffer, dtype: DType): TensorData {
  if (dtype === 'float32') return new Float32Array(buffer)
  if (dtype === 'uint8') return new Uint8Array(buffer)
  if (dtype === 'int32') return new Int32Array(buffer)
  return new Uint16Array(buffer)
}

function transposed(data: TensorData, images: number, rows: number, columns: number): TensorData {
  const out = new (data.constructor as new (length: number) => TensorData)(data.length)
  for (let image = 0, base = 0; image < images; ++image, base += rows * columns) {
    for (let row = 0; row < rows; ++row) {
      for (let column = 0; column < columns; ++column) {
        out[base + column * rows + row] = data[base + row * columns + column] as number
      }
    }
  }
  return out
}

function toFloat32(data: TensorData, dtype: DType): Float32Array {
  if (dtype !== 'float16' && dtype !== 'bfloat16') return Float32Array.from(data)
  const out = new Float32Array(data.length)
  if (dtype === 'bfloat16') {
    const bits = new Uint32Array(out.buffer)
    for (let i = 0; i < bits.length; ++i) bits[i] = (data[i] as number) << 16
  } else {
    for (let i = 0; i < out.length; ++i) out[i] = halfToNumber(data[i] as number)
  }
  return out
}

/** IEEE 754 binary16: 1 sign, 5 exponent and 10 fraction bits. */
function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}
