import { Stop } from '../abort.js'
import type { Waiting } from './batcher.js'
import type { Part, Place } from './part.js'

/** Takes the images of calls into its line. */
interface Owner<Kind> {
  submit(call: Call<Kind>, kind: Kind, part: Part): Promise<void>
}

/** One call of a model, from its admission until it settles. */
export class Call<Kind> implements CallHandle<Kind> {
  /** Has had images in a batch, or has none to wait with: disposing of the model waits for it. */
  begun: boolean
  /** Admitted images that no batch has taken: what `maxQueue` bounds. */
  waitingImages: number
  /** Its parts that have not run to their end; few. */
  readonly parts: Waiting<Kind>[] = []
  /** Aborts when the call is over for whatever reason: what works for it may stop. */
  readonly signal = new Stop()
  readonly submit = (kind: Kind, part: Part) => this.owner.submit(this, kind, part)

  constructor(
    readonly place: Place,
    images: number,
    private readonly owner: Owner<Kind>,
  ) {
    this.begun = images === 0
    this.waitingImages = images
  }
}

/** What the body of a call gets. */
export interface CallHandle<Kind> {
  readonly place: Place
  readonly signal: Stop
  /** Resolves when all images of the part have run. */
  submit(kind: Kind, part: Part): Promise<void>
}
