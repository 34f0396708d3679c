import { offAbort, onAbort, type Signal, Stop } from '../abort.js'
import { ResNetError } from '../errors.js'
import { Batcher, type Taken, type Waiting } from './batcher.js'
import { Call, type CallHandle } from './call.js'
import type { LaneShape } from './lanes.js'
import { type Batch, type Part, precedes } from './part.js'
import { type Outcome, Recorder } from './recorder.js'
import { Turnstile } from './turnstile.js'

export interface SchedulerOptions {
  /** What a refusal says was disposed of: 'The model'. */
  owner: string
  /** How many batches run at once, and with how many threads. */
  shape: LaneShape
  maxBatch: number
  /** A batch that is not full waits this long for more images. */
  maxDelayMs: number
  /** Images that may wait. */
  maxQueue: number
}

export interface CallRequest {
  /** What messages begin with: 'classify'. */
  method: string
  images: number
  priority: number
  signal?: Signal | undefined
  /** Whether it settles in the order of the calls; one that waits for somebody else's bytes must hold nobody up. */
  inOrder: boolean
  /** It is made again until the queue has room for it: a refusal is none for the statistics. */
  retries?: boolean
}

interface Running<Kind> {
  /** Calls that still want it; few. */
  calls: Call<Kind>[]
  threads: number
  stop: Stop
}

/** How long a batch that is not full waits for images that are being prepared, in milliseconds. */
const gatherMs = 5

/** Empty lines that are kept for the next image of their kind. */
const maxEmpty = 8

/** The reason on the signal of a call that has settled. One object: a new one for every call would cost its stack. */
const over = new Error('The call is over')

/**
 * Joins the images of concurrent calls into batches. A batch is formed when a lane becomes free: an idle model runs a
 * single image at once, and while a batch runs or images are prepared on all cores the next one fills. Whatever stands
 * first in line (by priority, then by the order of the calls) decides which kind runs; others of its kind go with it.
 */
export class Scheduler<Kind extends { key: string }> {
  private readonly batchers = new Map<string, Batcher<Kind>>()
  private readonly calls = new Set<Call<Kind>>()
  private readonly running = new Set<Running<Kind>>()
  private readonly turnstile = new Turnstile()
  private waiting = 0
  private sequence = 0
  private closed = false
  private onIdle: (() => void)[] = []
  private immediate?: NodeJS.Immediate
  private timer?: NodeJS.Timeout

  constructor(
    private readonly options: SchedulerOptions,
    private readonly run: (batch: Batch<Kind>) => Promise<void>,
    private readonly recorder = new Recorder(),
    private readonly moreToCome: () => boolean = () => false,
  ) {}

  /** Images admitted and not yet in a batch. */
  get queueDepth(): number {
    return this.waiting
  }

  /** Batches that run. */
  get busyLanes(): number {
    return this.running.size
  }

  /**
   * Admits a call or refuses it whole. `body` may go on after the call has settled (an aborted call settles at once);
   * its signal says so.
   * @throws ERR_RESNET_QUEUE_FULL, ERR_RESNET_DISPOSED; the signal's reason; what `body` throws.
   */
  call<T>(request: CallRequest, body: (call: CallHandle<Kind>) => Promise<T>): Promise<T> {
    const { signal, images, priority, inOrder } = request
    if (this.closed) return Promise.reject(this.disposed())
    if (signal?.aborted) {
      this.recorder.ended('aborted', 0)
      return Promise.reject(signal.reason)
    }
    if (this.waiting + images > this.options.maxQueue) {
      if (!request.retries) this.recorder.ended('refused', 0)
      return Promise.reject(this.full(request))
    }
    const begun = performance.now()
    const call = new Call<Kind>({ priority, sequence: this.sequence++ }, images, this)
    this.calls.add(call)
    this.waiting += images
    const abort = () => this.withdraw(call, signal?.reason)
    onAbort(signal, abort)
    const turn = inOrder ? this.turnstile.enter(priority) : undefined
    return new Promise<T>((resolve, reject) => {
      // What the body gives, or the reason of the withdrawal, whichever comes first.
      let settled = false
      const end = (outcome: Outcome) => {
        settled = true
        this.calls.delete(call)
        this.recorder.ended(outcome, performance.now() - begun)
        offAbort(signal, abort)
        this.withdraw(call, over)
        turn?.leave()
        this.reportIdle()
      }
      const fail = (error: unknown) => {
        if (settled) return
        reject(error)
        end(signal?.aborted && error === signal.reason ? 'aborted' : 'failed')
      }
      call.signal.listen(() => fail(call.signal.reason))
      body(call).then((given) => {
        const succeed = () => {
          if (settled) return
          resolve(given)
          end('completed')
        }
        if (turn === undefined) succeed()
        else turn.exit(succeed)
      }, fail)
    })
  }

  /** Refuses new calls and those that have had no image in a batch; resolves when the others are over. */
  async close(): Promise<void> {
    this.closed = true
    for (const call of this.calls) if (!call.begun) this.withdraw(call, this.disposed())
    await new Promise<void>((resolve) => {
      this.onIdle.push(resolve)
      this.reportIdle()
    })
    // Set for images that have left since, it would keep the process.
    clearTimeout(this.timer)
  }

  /** @internal What the call's own `submit` does. */
  submit(call: Call<Kind>, kind: Kind, part: Part): Promise<void> {
    return new Promise((resolve, reject) => {
      call.signal.throwIfAborted()
      const batcher = this.batcherOf(kind)
      const waiting: Waiting<Kind> = {
        place: call.place,
        call,
        batcher,
        part,
        taken: 0,
        done: 0,
        since: performance.now(),
        resolve,
        reject,
      }
      batcher.add(waiting)
      call.parts.push(waiting)
      this.dispatch()
    })
  }

  private batcherOf(kind: Kind): Batcher<Kind> {
    const known = this.batchers.get(kind.key)
    if (known !== undefined) return known
    const made = new Batcher(kind)
    this.batchers.set(kind.key, made)
    return made
  }

  /** Takes a call's images out of line, and out of the batches that run. Idempotent. */
  private withdraw(call: Call<Kind>, reason: unknown): void {
    if (call.signal.aborted) return
    this.waiting -= call.waitingImages
    call.waitingImages = 0
    const parts = [...call.parts]
    call.parts.length = 0
    for (const waiting of parts) {
      waiting.batcher.remove(waiting)
      // Nobody waits for it but the call's body, which has things to give back.
      waiting.reject(reason)
    }
    call.signal.abort(reason)
    if (parts.length === 0) return
    for (const { calls, stop } of this.running) {
      const at = calls.indexOf(call)
      if (at < 0) continue
      calls.splice(at, 1)
      if (calls.length === 0) stop.abort(reason)
    }
    this.forgetEmpty()
  }

  /**
   * Starts what can start. A batch that is not full waits for the end of this turn of the event loop: who has just got
   * a result, or arrives in the same turn, goes along.
   */
  private dispatch(endOfTurn = false): void {
    while (this.hasLane) {
      const batcher = this.next()
      if (batcher === undefined) return
      if (this.shareOf(batcher) < this.options.maxBatch && !endOfTurn) {
        this.immediate ??= setImmediate(() => {
          this.immediate = undefined
          this.dispatch(true)
        })
        return
      }
      this.start(batcher)
    }
  }

  /** The kind whose turn it is. */
  private next(): Batcher<Kind> | undefined {
    let best: Batcher<Kind> | undefined
    // Of those that wait for more images.
    let held: Batcher<Kind> | undefined
    let soonest = Number.POSITIVE_INFINITY
    for (const batcher of this.batchers.values()) {
      if (batcher.first === undefined) continue
      const wait = this.waitOf(batcher)
      if (wait > 0) {
        soonest = Math.min(soonest, wait)
        if (standsBefore(batcher, held)) held = batcher
      } else if (standsBefore(batcher, best)) best = batcher
    }
    // A lane is not given to lower priority meanwhile: it may be busy for long.
    if (best !== undefined && priorityOf(held) > priorityOf(best)) return held
    if (best === undefined && soonest < Number.POSITIVE_INFINITY) {
      // Rounded up: a timer that fires early would only set itself again.
      this.timer ??= setTimeout(() => {
        this.timer = undefined
        this.dispatch(true)
      }, Math.ceil(soonest))
    }
    return best
  }

  private waitOf(batcher: Batcher<Kind>): number {
    const { maxDelayMs, maxBatch } = this.options
    if (batcher.images >= maxBatch) return 0
    const delayMs = this.gathers ? Math.max(gatherMs, maxDelayMs) : maxDelayMs
    return delayMs === 0 ? 0 : Math.max(0, batcher.oldest + delayMs - performance.now())
  }

  /**
   * Whether small batches would cost images a second: while more images are prepared than there are threads for, a free
   * lane does not mean an idle core. Not for a call that is alone, whose batches are to be the same every time.
   */
  private get gathers(): boolean {
    return this.calls.size > 1 && this.moreToCome()
  }

  /**
   * Images of its next batch: several free lanes share what is there, unless their cores have other work, or a batch may
   * have the threads of all.
   */
  private shareOf({ images }: Batcher<Kind>): number {
    const { shape, maxBatch } = this.options
    if (this.gathers || shape.shares !== undefined) return Math.min(maxBatch, images)
    return Math.min(maxBatch, Math.ceil(images / (shape.lanes - this.running.size)))
  }

  private get hasLane(): boolean {
    const { shares, lanes } = this.options.shape
    return shares === undefined ? this.running.size < lanes : this.freeThreads >= (shares.at(-1) as number)
  }

  private get freeThreads(): number {
    let free = this.options.shape.threads
    for (const { threads } of this.running) free -= threads
    return free
  }

  /**
   * Those of its next batch. Where there is a choice: as many as there are for each of the full batches that wait, and few
   * where cores are busy with images, since threads of one batch wait for one another. A call that is alone has the same
   * every time.
   */
  private threadsOf({ images }: Batcher<Kind>): number {
    const { shape, maxBatch } = this.options
    const { shares, threads } = shape
    if (shares === undefined) return threads
    const batches = this.calls.size === 1 ? 1 : this.gathers ? shape.lanes : Math.floor(images / maxBatch)
    const wanted = shares.findLast((share) => Math.floor(threads / share) <= batches) ?? threads
    const most = Math.min(wanted, this.freeThreads)
    return shares.find((share) => share <= most) ?? (shares.at(-1) as number)
  }

  private start(batcher: Batcher<Kind>): void {
    const threads = this.threadsOf(batcher)
    const shares = batcher.take(this.shareOf(batcher))
    const running: Running<Kind> = { calls: [], threads, stop: new Stop() }
    this.running.add(running)
    let images = 0
    const now = performance.now()
    for (const { waiting, images: count } of shares) {
      const { call } = waiting
      this.recorder.queued(now - waiting.since + (waiting.part.waitedMs ?? 0), count)
      call.begun = true
      call.waitingImages -= count
      if (!running.calls.includes(call)) running.calls.push(call)
      images += count
    }
    this.waiting -= images
    this.forgetEmpty()
    const batch = { kind: batcher.kind, shares, images, threads, signal: running.stop }
    const ended = () => {
      this.running.delete(running)
      this.dispatch()
      this.reportIdle()
    }
    this.run(batch).then(
      () => {
        finish(shares)
        ended()
      },
      (error) => {
        for (const share of shares) share.fail(error)
        ended()
      },
    )
  }

  private forgetEmpty(): void {
    if (this.batchers.size <= maxEmpty) return
    for (const [key, batcher] of this.batchers) if (batcher.images === 0) this.batchers.delete(key)
  }

  private reportIdle(): void {
    if (this.calls.size > 0 || this.running.size > 0) return
    for (const resolve of this.onIdle.splice(0)) resolve()
  }

  private full({ method, images }: CallRequest): ResNetError {
    const { maxQueue } = this.options
    return new ResNetError(
      'ERR_RESNET_QUEUE_FULL',
      `${method}: expected at most ${maxQueue} waiting images (maxQueue), received ${images} more while ${this.waiting} ` +
        `wait; ${images > maxQueue ? 'pass fewer at once or raise maxQueue' : 'try again later'}`,
    )
  }

  private disposed(): ResNetError {
    return new ResNetError('ERR_RESNET_DISPOSED', `${this.options.owner} was disposed of; make a new one`)
  }
}

function standsBefore<Kind>({ first }: Batcher<Kind>, other: Batcher<Kind> | undefined): boolean {
  return first !== undefined && (other?.first === undefined || precedes(first.place, other.first.place))
}

function priorityOf<Kind>(batcher: Batcher<Kind> | undefined): number {
  return batcher?.first?.place.priority ?? Number.NEGATIVE_INFINITY
}

/** Resolves the parts of which every image has run. */
function finish<Kind>(shares: readonly Taken<Kind>[]): void {
  for (const { waiting, images } of shares) {
    waiting.done += images
    if (waiting.done < waiting.part.images) continue
    const { parts } = waiting.call
    if (parts.at(-1) === waiting) parts.pop()
    else parts.splice(parts.indexOf(waiting), 1)
    waiting.resolve()
  }
}
