import type { DeviceMemory, DevicePiece, Picture } from '../../binding.js'
import { ResNetError } from '../errors.js'
import type { CudaName } from './devices.js'

/** A native object that may be disposed of while others hold it: it is freed when they let go. */
class Held<T extends { dispose(): void }> {
  private holders = 0
  private over = false

  constructor(
    readonly memory: T,
    private readonly name: string,
  ) {}

  /** The object. @throws ERR_RESNET_DISPOSED */
  get live(): T {
    if (!this.over) return this.memory
    throw new ResNetError('ERR_RESNET_DISPOSED', `${this.name} was disposed of`)
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

/** Memory on a device with values in it. Disposing of it waits for those who hold it. */
export class DeviceStorage extends Held<DeviceMemory> {
  constructor(
    memory: DeviceMemory,
    readonly device: CudaName,
  ) {
    super(memory, `Tensor: this tensor on ${device}`)
  }
}

/** A decoded image for a batch that resizes it. */
export class StoredPicture extends Held<Picture> {
  /** What the addon reads. */
  readonly picture: Picture
  readonly storage = this

  constructor(picture: Picture) {
    super(picture, 'The call of this image is over: its picture')
    this.picture = picture
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
 * Holds what is native among the pieces of a batch; all or none.
 * @returns undefined: nothing is.
 * @throws ERR_RESNET_DISPOSED
 */
export function holdAll(
  inputs: readonly (ArrayBufferView | StoredPiece | StoredPicture)[],
  outputs: readonly (readonly (ArrayBufferView | StoredPiece)[])[],
): (() => void) | undefined {
  if (inputs.every(ArrayBuffer.isView) && outputs.every((pieces) => pieces.every(ArrayBuffer.isView))) {
    return undefined
  }
  const held: (() => void)[] = []
  const release = () => {
    for (const letGo of held) letGo()
  }
  const hold = (pieces: readonly (ArrayBufferView | StoredPiece | StoredPicture)[]) => {
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
