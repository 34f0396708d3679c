import { setImmediate, setTimeout as sleep } from 'node:timers/promises'

/** What is to be called: one call after another for some time, or calls at given times. */
export type Demand =
  | { kind: 'closed'; milliseconds: number; fewest: number }
  /** Milliseconds from the beginning. */
  | { kind: 'open'; arrivals: number[] }

/** What became of a demand. What cannot be read is NaN. */
export interface Run {
  /** Of every call that was answered, in milliseconds; of an open loop from the intended start. */
  latencies: number[]
  /** Calls that a full queue turned away. */
  refused: number
  elapsedMs: number
  /** Processor time of all threads. */
  cpuMs: number
  eventLoopP99Ms: number
  /** Largest resident size so far, in MB. */
  peakMb: number
}

/** A network that is opened, in this process or another, and does what it is asked for. */
export interface Subject {
  run(demand: Demand): Promise<Run>
}

type Call = () => Promise<unknown>
type Calls = Pick<Run, 'latencies' | 'refused'>

/** Makes the calls of `demand`; of a closed loop `callers` at once. */
export function makeCalls(call: Call, demand: Demand, callers: number): Promise<Calls> {
  return demand.kind === 'closed' ? closedLoop(call, demand, callers) : openLoop(call, demand.arrivals)
}

async function closedLoop(
  call: Call,
  { milliseconds, fewest }: { milliseconds: number; fewest: number },
  callers: number,
): Promise<Calls> {
  const latencies: number[] = []
  const end = performance.now() + milliseconds
  let begun = 0
  let refused = 0
  const caller = async () => {
    while (performance.now() < end || begun < fewest) {
      ++begun
      const start = performance.now()
      try {
        await call()
        latencies.push(performance.now() - start)
      } catch (error) {
        if (!isRefusal(error)) throw error
        ++refused
        // One that is refused at once would try again at once.
        await sleep(1)
      }
    }
  }
  await Promise.all(Array.from({ length: callers }, caller))
  return { latencies, refused }
}

/** Calls start when their time has come, whatever became of the earlier ones; a late start counts as latency. */
async function openLoop(call: Call, arrivals: readonly number[]): Promise<Calls> {
  const latencies: number[] = []
  const running = new Set<Promise<void>>()
  let refused = 0
  let failure: { error: unknown } | undefined
  const begin = performance.now()
  for (const arrival of arrivals) {
    const due = begin + arrival
    await until(due)
    // A driver that fails is not measured: what it answers fast may be errors.
    if (failure !== undefined) break
    const finished: Promise<void> = call()
      .then(
        () => void latencies.push(performance.now() - due),
        (error) => {
          if (isRefusal(error)) ++refused
          else failure ??= { error }
        },
      )
      .finally(() => running.delete(finished))
    running.add(finished)
  }
  await Promise.all(running)
  if (failure !== undefined) throw failure.error
  return { latencies, refused }
}

/** A timer counts whole milliseconds, and may be early by a part of one: the rest is spent in turns of the loop. */
async function until(due: number): Promise<void> {
  const wait = due - performance.now()
  if (wait > 1) await sleep(wait - 1)
  while (performance.now() < due) await setImmediate()
}

function isRefusal(error: unknown): boolean {
  return (error as { code?: unknown } | undefined)?.code === 'ERR_RESNET_QUEUE_FULL'
}
