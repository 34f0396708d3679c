import type { Call } from './call.js'
import { insert, type Part, type Place, type Share } from './part.js'

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

export interface Taken<Kind> extends Share {
  waiting: Waiting<Kind>
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
      const images = Math.min(room, part.images - taken)
      const slice = part.slice(taken, images)
      shares.push({ ...slice, images, waiting, fail: (error) => waiting.reject(error) })
      waiting.taken += images
      if (waiting.taken === part.images) this.line.shift()
      room -= images
    }
    this.images -= count
    return shares
  }
}
