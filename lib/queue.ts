import { onAbort } from './abort.js'
import { ResNetError } from './errors.js'

/** Runs a task when its turn comes; one task of a queue runs at a time. */
export type Turn = <T>(task: () => Promise<T>) => Promise<T>

interface Call {
  signal?: AbortSignal
}
interface Waiter {
  call: Call
  resolve(): void
  reject(reason: unknown): void
}

/**
 * The order of the calls on one model. A call takes one or more turns (a batch above `maxBatch` several), first come,
 * first served; an aborted one leaves at once. Closing lets calls that had a turn finish and refuses the others.
 */
export class CallQueue {
  private readonly waiting: Waiter[] = []
  /** Calls that have had a turn and are not over. */
  private readonly started = new Set<Call>()
  private busy = false
  private closed = false
  private onIdle: (() => void)[] = []

  /** @param owner What a refusal says was disposed of: 'The model'. */
  constructor(private readonly owner: string) {}

  async call<T>(signal: AbortSignal | undefined, body: (turn: Turn) => Promise<T>): Promise<T> {
    if (this.closed) throw this.refusal()
    signal?.throwIfAborted()
    const call: Call = { signal }
    try {
      return await body((task) => this.turn(call, task))
    } finally {
      this.started.delete(call)
      this.reportIdle()
    }
  }

  /** Refuses new calls, rejects waiting ones, and resolves when those that had begun are over. */
  async close(): Promise<void> {
    this.closed = true
    const refused = this.waiting.filter(({ call }) => !this.started.has(call))
    for (const waiter of refused) {
      this.waiting.splice(this.waiting.indexOf(waiter), 1)
      waiter.reject(this.refusal())
    }
    await new Promise<void>((resolve) => {
      this.onIdle.push(resolve)
      this.reportIdle()
    })
  }

  private async turn<T>(call: Call, task: () => Promise<T>): Promise<T> {
    await this.acquire(call)
    this.started.add(call)
    try {
      return await task()
    } finally {
      this.release()
    }
  }

  private async acquire(call: Call): Promise<void> {
    call.signal?.throwIfAborted()
    if (this.closed && !this.started.has(call)) throw this.refusal()
    if (!this.busy) {
      this.busy = true
      return
    }
    let stopListening = () => {}
    try {
      await new Promise<void>((resolve, reject) => {
        const waiter: Waiter = { call, resolve, reject }
        this.waiting.push(waiter)
        stopListening = onAbort(call.signal, () => {
          const position = this.waiting.indexOf(waiter)
          if (position < 0) return
          this.waiting.splice(position, 1)
          reject(call.signal?.reason)
        })
      })
    } finally {
      stopListening()
    }
  }

  /** The turn goes straight to the next in line, so that nobody slips in between. */
  private release(): void {
    const next = this.waiting.shift()
    if (next === undefined) this.busy = false
    else {
      // Begun from here on: a close() before it runs must wait for it.
      this.started.add(next.call)
      next.resolve()
    }
  }

  private reportIdle(): void {
    if (this.busy || this.started.size > 0) return
    for (const resolve of this.onIdle.splice(0)) resolve()
  }

  private refusal(): ResNetError {
    return new ResNetError('ERR_RESNET_DISPOSED', `${this.owner} was disposed of; make a new one`)
  }
}
