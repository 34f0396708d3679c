import { setTimeout as delay } from 'node:timers/promises'
import { offAbort, onAbort, Stop } from './abort.js'
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

/** What the works of a stream have in common. */
interface Works<I, R> {
  work(input: I, signal: Stop): Promise<R>
  over: Stop
  /** Called when an outcome is there. */
  settled(): void
}

/** An input that is worked on. */
class Started<I, R> {
  /** Set when it is there. */
  outcome: Outcome<R> | undefined
  readonly over: Promise<void>

  constructor(
    readonly input: I,
    works: Works<I, R>,
  ) {
    // One microtask later: an input that is there by then is begun before the result is handed out.
    this.over = this.run(works).then(works.settled)
  }

  /** One that a full queue refuses is not lost: the stream waits. */
  private async run({ work, over }: Works<I, R>): Promise<void> {
    for (let refused = false; this.outcome === undefined; ) {
      try {
        if (refused) await delay(retryMs, undefined, { signal: over.signal })
        this.outcome = { result: await work(this.input, over) }
      } catch (error) {
        refused = error instanceof ResNetError && error.code === 'ERR_RESNET_QUEUE_FULL'
        if (!refused) this.outcome = { error }
      }
    }
  }
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
  const happened = () => wake()
  const abort = () => {
    over.abort(signal?.reason)
    wake()
  }
  onAbort(signal, abort)
  const inputs = new Inputs(source, happened)
  const started: Started<I, R>[] = []
  const works = { work, over, settled: happened }
  const setWake = (resolve: () => void) => {
    wake = resolve
  }
  let failed = false
  try {
    for (;;) {
      signal?.throwIfAborted()
      const came = inputs.take()
      if (came !== undefined) started.push(new Started(came.input, works))
      if (started.length < concurrency) inputs.ask()
      const [first] = started
      if (first?.outcome !== undefined) {
        started.shift()
        yield asItem(first.input, first.outcome)
      } else if (first === undefined && inputs.ended) {
        break
      } else {
        await new Promise<void>(setWake)
      }
    }
    if (inputs.failure !== undefined) throw inputs.failure.error
  } catch (error) {
    failed = true
    throw error
  } finally {
    offAbort(signal, abort)
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

  /** @param answered called when what was asked for, or the end, is there */
  constructor(
    source: Source<I>,
    private readonly answered: () => void,
  ) {
    this.iterator =
      Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
  }

  /** Asks for one more, unless one is asked for or the end has come. */
  ask(): void {
    if (this.asked || this.ended || this.came !== undefined) return
    this.asked = true
    void this.pull()
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
    this.answered()
  }
}

/** @throws what is wrong with the model and not with the input. */
function asItem<I, R extends object>(input: I, outcome: Outcome<R>): Streamed<I, R> {
  if ('result' in outcome) return Object.assign({ input }, outcome.result) as Streamed<I, R>
  const { error } = outcome
  if (error instanceof ResNetError && fatal.includes(error.code)) throw error
  return { input, error } as Streamed<I, R>
}

const fatal: readonly string[] = ['ERR_RESNET_DISPOSED', 'ERR_RESNET_DEVICE_LOST', 'ERR_RESNET_UNSUPPORTED']
