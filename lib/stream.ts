import { setTimeout as delay } from 'node:timers/promises'
import { onAbort, Stop } from './abort.js'
import { ResNetError } from './errors.js'

/** Anything that gives inputs one after another. */
export type Source<I> = AsyncIterable<I> | Iterable<I>

/** What became of one input of a stream. */
export type Streamed<I, R> = ({ input: I; error?: undefined } & R) | ({ input: I; error: Error } & Absent<R>)
type Absent<R> = { [K in keyof R]?: undefined }

export interface Streaming {
  /** Inputs that are read, decoded or run at once. */
  concurrency: number
  signal?: AbortSignal
}

type Outcome<R> = { result: R } | { error: unknown }
interface Started<I, R> {
  input: I
  /** Set when it is there. */
  outcome?: Outcome<R>
  over: Promise<void>
}

/** How long a stream waits before it asks a full queue again. */
const retryMs = 5

/**
 * Works on the inputs of `source`, several at a time, and yields what becomes of each in their order. It takes an input
 * only when there is room for it, and nothing while nobody takes its results. Leaving it early aborts what is under way
 * and closes the source. When the source fails, the results before come first.
 */
export async function* streamed<I, R extends object>(
  source: Source<I>,
  { concurrency, signal }: Streaming,
  work: (input: I, signal: Stop) => Promise<R>,
): AsyncGenerator<Streamed<I, R>, void, undefined> {
  const over = new Stop()
  // Whatever happens wakes the loop. (Promises raced again and again would pile up on those that stay pending.)
  let wake = () => {}
  const stopListening = onAbort(signal, () => {
    over.abort(signal?.reason)
    wake()
  })
  const inputs = new Inputs(source)
  const started: Started<I, R>[] = []
  const start = (input: I): Started<I, R> => {
    const settle = (outcome: Outcome<R>) => {
      entry.outcome = outcome
      wake()
    }
    const ending = whenThereIsRoom(() => work(input, over), over).then(
      (result) => settle({ result }),
      (error) => settle({ error }),
    )
    const entry: Started<I, R> = { input, over: ending }
    return entry
  }
  let failed = false
  try {
    for (;;) {
      signal?.throwIfAborted()
      const came = inputs.take()
      if (came !== undefined) started.push(start(came.input))
      if (started.length < concurrency) inputs.ask(() => wake())
      const [first] = started
      if (first?.outcome !== undefined) {
        started.shift()
        yield asItem(first.input, first.outcome)
      } else if (first === undefined && inputs.ended) {
        break
      } else {
        await new Promise<void>((resolve) => (wake = resolve))
      }
    }
    if (inputs.failure !== undefined) throw inputs.failure.error
  } catch (error) {
    failed = true
    throw error
  } finally {
    stopListening()
    over.abort(new Error('The stream is over'))
    await Promise.all(started.map((entry) => entry.over))
    await inputs.close().catch((error) => {
      // As in a loop over the source itself, this does not take the place of what ended the stream.
      if (!failed) throw error
    })
  }
}

/** A source of which one input at a time is asked for. */
class Inputs<I> {
  ended = false
  failure?: { error: unknown }
  private readonly iterator: AsyncIterator<I> | Iterator<I>
  private asked = false
  private came?: { input: I }

  constructor(source: Source<I>) {
    this.iterator =
      Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
  }

  /** Asks for one more, unless one is asked for or the end has come; `answered` when it, or the end, is there. */
  ask(answered: () => void): void {
    if (this.asked || this.ended || this.came !== undefined) return
    this.asked = true
    void this.pull().then(answered)
  }

  take(): { input: I } | undefined {
    const { came } = this
    this.came = undefined
    return came
  }

  async close(): Promise<void> {
    if (this.ended) return
    const closing = Promise.resolve(this.iterator.return?.())
    // One that is asked may never answer, and would not close before it has.
    if (this.asked) closing.catch(() => {})
    else await closing
  }

  private async pull(): Promise<void> {
    try {
      const { done, value } = await this.iterator.next()
      if (done) this.ended = true
      else this.came = { input: value }
    } catch (error) {
      this.ended = true
      this.failure = { error }
    }
    this.asked = false
  }
}

/** A refused input of a stream is not lost: the stream waits. */
async function whenThereIsRoom<R>(work: () => Promise<R>, over: Stop): Promise<R> {
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof ResNetError && error.code === 'ERR_RESNET_QUEUE_FULL')) throw error
    }
    await delay(retryMs, undefined, { signal: over.signal })
  }
}

/** @throws what is wrong with the model and not with the input. */
function asItem<I, R extends object>(input: I, outcome: Outcome<R>): Streamed<I, R> {
  if ('result' in outcome) return { input, ...outcome.result } as Streamed<I, R>
  const { error } = outcome
  if (error instanceof ResNetError && fatal.includes(error.code)) throw error
  return { input, error } as Streamed<I, R>
}

const fatal: readonly string[] = ['ERR_RESNET_DISPOSED', 'ERR_RESNET_DEVICE_LOST', 'ERR_RESNET_UNSUPPORTED']
