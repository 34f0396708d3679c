import type { DeviceMemory, DevicePiece } from '../../binding.js'
import { ResNetError } from '../errors.js'
import type { CudaName } from './devices.js'

/** Memory on a device with values in it. Disposing of it waits for those who hold it. */
export class DeviceStorage {
  private holders = 0
  private over = false

  constructor(
    readonly memory: DeviceMemory,
    readonly device: CudaName,
  ) {}

  /** The memory. @throws ERR_RESNET_DISPOSED */
  get live(): DeviceMemory {
    if (!this.over) return this.memory
    throw new ResNetError('ERR_RESNET_DISPOSED', `Tensor: this tensor on ${this.device} was disposed of`)
  }

  /** Keeps the memory until the returned function is called, once. @throws ERR_RESNET_DISPOSED once it is freed. */
  hold(): () => void {
    if (this.holders === 0) void this.live
    ++this.holders
    return () => {
      if (--this.holders === 0 && this.over) this.memory.dispose()
    }
  }

  /** Idempotent. */
  dispose(): void {
    this.over = true
    if (this.holders === 0) this.memory.dispose()
  }
}

/** A part of a device's memory as a batch takes it. */
export interface StoredPiece extends DevicePiece {
  storage: DeviceStorage
}

export function storedPiece(storage: DeviceStorage, offset: number, bytes: number): StoredPiece {
  return { storage, memory: storage.memory, offset, bytes }
}

/**
 * Holds what lies on a device among the pieces of a batch; all or none.
 * @returns undefined: nothing lies there.
 * @throws ERR_RESNET_DISPOSED
 */
export function holdAll(
  inputs: readonly (ArrayBufferView | StoredPiece)[],
  outputs: readonly (readonly (ArrayBufferView | StoredPiece)[])[],
): (() => void) | undefined {
  const held: (() => void)[] = []
  const release = () => {
    for (const letGo of held) letGo()
  }
  const hold = (pieces: readonly (ArrayBufferView | StoredPiece)[]) => {
    for (const piece of pieces) if (!ArrayBuffer.isView(piece)) held.push(piece.storage.hold())
  }
  try {
    hold(inputs)
    for (const pieces of outputs) hold(pieces)
  } catch (error) {
    release()
    throw error
  }
  return held.length === 0 ? undefined : release
}
