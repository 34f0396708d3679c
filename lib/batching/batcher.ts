import type { Shape } from '../outputs.js'
import type { Call } from './call.js'
import { insert, type OutputPieces, type Part, type Place, type Share, type Slice } from './part.js'

/** A part in line, some of whose images may be running or done. */
export interface Waiting<Kind> {
  place: Place
  call: Call<Kind>
  /** Where it stands in line. */
  batcher: Batcher<Kind>
  part: Part
  /** Images that batches have taken. */
  taken: number
  /** Images that have run. */
  done: number
  /** When it came, by performance.now(). */
  since: number
  resolve(): void
  reject(error: unknown): void
}

/** What a batch has taken of a part. */
export class Taken<Kind> implements Share {
  private readonly slice: Slice

  constructor(
    readonly waiting: Waiting<Kind>,
    readonly images: number,
  ) {
    this.slice = waiting.part.slice(waiting.taken, images)
    waiting.taken += images
  }

  get pieces(): Slice['pieces'] {
    return this.slice.pieces
  }

  outputs(shapes: readonly Shape[]): OutputPieces | Promise<OutputPieces> {
    return this.slice.outputs(shapes)
  }

  fail(error: unknown): void {
    this.waiting.reject(error)
  }
}

/** The images of one kind that wait for a lane. */
export class Batcher<Kind> {
  private readonly line: Waiting<Kind>[] = []
  images = 0

  constructor(readonly kind: Kind) {}

  get first(): Waiting<Kind> | undefined {
    return this.line[0]
  }

  /** When the one that has waited longest came. */
  get oldest(): number {
    return this.line.reduce((oldest, { since }) => Math.min(oldest, since), Number.POSITIVE_INFINITY)
  }

  add(waiting: Waiting<Kind>): void {
    insert(this.line, waiting)
    this.images += waiting.part.images
  }

  remove(waiting: Waiting<Kind>): void {
    if (waiting.taken === waiting.part.images) return
    const position = this.line.indexOf(waiting)
    this.line.splice(position, 1)
    this.images -= waiting.part.images - waiting.taken
  }

  /** The first `count` images in line; a part may be divided between batches. */
  take(count: number): Taken<Kind>[] {
    const shares: Taken<Kind>[] = []
    for (let room = count; room > 0; ) {
      const waiting = this.line[0] as Waiting<Kind>
      const { part, taken } = waiting
      const share = new Taken(waiting, Math.min(room, part.images - taken))
      shares.push(share)
      if (waiting.taken === part.images) this.line.shift()
      room -= share.images
    }
    this.images -= count
    return shares
  }
}
