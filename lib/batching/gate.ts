import { offAbort, onAbort, type Signal } from '../abort.js'
import { insert, type Place } from './part.js'

interface Waiter {
  place: Place
  count: number
  enter(): void
}

/** Bounds how many images are decoded ahead of the network, so that a long queue holds files and not pixels. */
export class Gate {
  private readonly line: Waiter[] = []
  private inside = 0

  constructor(private readonly limit: number) {}

  /** Enters with `count` images if nobody waits and there is room for all of them. */
  tryEnter(count: number): boolean {
    if (this.line.length > 0 || !this.fits(count)) return false
    this.inside += count
    return true
  }

  /**
   * Enters with `count` images once there is room for all of them: with some inside and some outside, two calls could
   * wait for each other. More than the limit enter when it is empty.
   * @throws the signal's reason.
   */
  async enter(count: number, place: Place, signal: Signal): Promise<void> {
    signal.throwIfAborted()
    if (this.tryEnter(count)) return
    await new Promise<void>((resolve, reject) => {
      const enter = () => {
        offAbort(signal, abort)
        this.inside += count
        resolve()
      }
      const waiter: Waiter = { place, count, enter }
      const abort = () => {
        this.line.splice(this.line.indexOf(waiter), 1)
        this.admit()
        reject(signal.reason)
      }
      onAbort(signal, abort)
      insert(this.line, waiter)
      this.admit()
    })
  }

  leave(count: number): void {
    this.inside -= count
    this.admit()
  }

  private fits(count: number): boolean {
    return this.inside === 0 || this.inside + count <= this.limit
  }

  private admit(): void {
    for (let next = this.line[0]; next !== undefined && this.fits(next.count); next = this.line[0]) {
      this.line.shift()
      next.enter()
    }
  }
}
