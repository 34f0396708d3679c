import { setMaxListeners } from 'node:events'

/** What work within the library is stopped by: the user's own signal, or a Stop. */
export type Signal = AbortSignal | Stop

/**
 * An AbortController and its signal in one, without events: those of an AbortSignal take microseconds a call, and tens
 * of them when a network has emptied the caches.
 */
export class Stop {
  aborted = false
  reason: unknown
  /** Few. */
  private listeners: (() => void)[] | undefined
  private controller: AbortController | undefined

  /** Idempotent: the first reason stays. */
  abort(reason: unknown): void {
    if (this.aborted) return
    this.aborted = true
    this.reason = reason
    // One after another: what one does may end the wait of the next, which then is not to be called.
    const { listeners = [] } = this
    for (let listener = listeners.shift(); listener !== undefined; listener = listeners.shift()) listener()
    this.controller?.abort(reason)
  }

  throwIfAborted(): void {
    if (this.aborted) throw this.reason
  }

  /** As `onAbort`. */
  listen(listener: () => void): void {
    if (this.aborted) return
    if (this.listeners === undefined) this.listeners = [listener]
    else this.listeners.push(listener)
  }

  /** As `offAbort`. */
  ignore(listener: () => void): void {
    const at = this.listeners?.lastIndexOf(listener) ?? -1
    if (at >= 0) this.listeners?.splice(at, 1)
  }

  /** For those who know AbortSignals only; made when somebody asks. */
  get signal(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController()
      setMaxListeners(0, this.controller.signal)
      if (this.aborted) this.controller.abort(this.reason)
    }
    return this.controller.signal
  }
}

/**
 * Calls `listener` when the signal aborts, until `offAbort` is called with both. One signal may cancel any number of calls,
 * so the warning of Node about many listeners is turned off for it.
 */
export function onAbort(signal: Signal | undefined, listener: () => void): void {
  if (signal === undefined) return
  if (signal instanceof Stop) {
    signal.listen(listener)
    return
  }
  setMaxListeners(0, signal)
  signal.addEventListener('abort', listener, { once: true })
}

export function offAbort(signal: Signal | undefined, listener: () => void): void {
  if (signal === undefined) return
  if (signal instanceof Stop) signal.ignore(listener)
  else signal.removeEventListener('abort', listener)
}

/** The same as an AbortSignal, for Node's functions. */
export function asAbortSignal(signal: Signal | undefined): AbortSignal | undefined {
  return signal instanceof Stop ? signal.signal : signal
}
