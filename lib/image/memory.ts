/** What a decoded image is for a network: normalised, or levels. */
export type ImageArray = Float32Array | Uint8Array

/** Fresh memory, zeroed. */
export function newImageArray(form: 'float32' | 'uint8', elements: number): ImageArray {
  return form === 'uint8' ? new Uint8Array(elements) : new Float32Array(elements)
}

/**
 * Memory of decoded images that is used again: fresh memory is zeroed first, and is freed when a garbage collector finds the
 * time. For images of one form that only a batch reads; whoever gives memory back keeps nothing of it.
 */
export class ImageMemory {
  /** Of one image: what was given back last, and all that is unused. */
  private elements = 0
  private readonly unused: ImageArray[] = []

  /** @param most images whose memory is kept. */
  constructor(private readonly most: number) {}

  /** What is in it is whatever was there before. */
  take(form: 'float32' | 'uint8', elements: number): ImageArray {
    const known = elements === this.elements ? this.unused.pop() : undefined
    return known ?? newImageArray(form, elements)
  }

  /** Nobody writes or reads it any more. */
  give(array: ImageArray): void {
    if (array.length !== this.elements) {
      this.elements = array.length
      this.unused.length = 0
    }
    if (this.unused.length < this.most) this.unused.push(array)
  }
}
