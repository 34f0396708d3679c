import { setMaxListeners } from 'node:events'
import type { Batcher, Waiting } from './batcher.js'
import type { Part, Place } from './part.js'

/** One call of a model, from its admission until it settles. */
export class Call<Kind> {
  /** Has had images in a batch, or has none to wait with: disposing of the model waits for it. */
  begun: boolean
  /** Admitted images that no batch has taken: what `maxQueue` bounds. */
  waitingImages: number
  /** Its parts that have not run to their end, and where they stand in line. */
  readonly parts = new Map<Waiting<Kind>, Batcher<Kind>>()
  private readonly over = new AbortController()

  constructor(
    readonly place: Place,
    images: number,
  ) {
    this.begun = images === 0
    this.waitingImages = images
    setMaxListeners(0, this.over.signal)
  }

  /** Aborts when the call is over for whatever reason: what works for it may stop. */
  get signal(): AbortSignal {
    return this.over.signal
  }

  end(reason: unknown): void {
    this.over.abort(reason)
  }
}

/** What the body of a call gets. */
export interface CallHandle<Kind> {
  readonly place: Place
  readonly signal: AbortSignal
  /** Resolves when all images of the part have run. */
  submit(kind: Kind, part: Part): Promise<void>
}
