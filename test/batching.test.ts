import { Stop } from '../lib/abort.js'
import { Gate } from '../lib/batching/gate.js'
import { laneShape } from '../lib/batching/lanes.js'
import type { Batch, Part } from '../lib/batching/part.js'
import { type CallRequest, Scheduler, type SchedulerOptions } from '../lib/batching/scheduler.js'

interface Kind {
  key: string
}
interface Run extends Batch<Kind> {
  /** The callers' images, as 'a0 a1 b0'. */
  names: string
  finish(): void
  fail(error: unknown): void
}
const settle = () => new Promise<void>((resolve) => setImmediate(resolve))
const settled = async (turns = 3) => {
  for (let i = 0; i < turns; ++i) await settle()
}

/** A scheduler whose batches end when they are told to. @param moreToCome whether images are being prepared on all cores */
function observed(options: Partial<SchedulerOptions> = {}, moreToCome = () => false) {
  const runs: Run[] = []
  const order: string[] = []
  const scheduler = new Scheduler<Kind>(
    {
      owner: 'The model',
      shape: { lanes: 1, threads: 1 },
      maxBatch: 4,
      maxDelayMs: 0,
      maxQueue: 1000,
      ...options,
    },
    (batch) =>
      new Promise<void>((resolve, reject) => {
        const names = batch.shares.flatMap(({ pieces }) => pieces.map((piece) => String(piece))).join(' ')
        runs.push({ ...batch, names, finish: resolve, fail: reject })
        batch.signal.listen(() => reject(batch.signal.reason))
      }),
    undefined,
    moreToCome,
  )
  const part = (name: string, images: number): Part => ({
    images,
    slice: (from, count) => ({
      pieces: Array.from({ length: count }, (_, i) => `${name}${from + i}`) as never[],
      outputs: () => [],
    }),
  })
  const call = (name: string, images = 1, request: Partial<CallRequest> & { key?: string } = {}) => {
    const { key = 'k', ...rest } = request
    const result = scheduler.call(
      { method: 'classify', images, priority: 0, inOrder: true, ...rest },
      async ({ submit }) => {
        await submit({ key }, part(name, images))
        return name
      },
    )
    result.then(
      () => order.push(name),
      () => order.push(`${name} rejected`),
    )
    return result
  }
  return { scheduler, runs, order, call, part, batches: () => runs.map(({ names }) => names) }
}

describe('forming batches', () => {
  test('an idle model runs a single image at once, a busy one fills the next batch', async () => {
    const { runs, call, batches } = observed()
    call('a')
    await settle()
    expect(batches()).toEqual(['a0'])
    for (const name of ['b', 'c', 'd', 'e', 'f']) call(name)
    await settled()
    expect(runs).toHaveLength(1)
    runs[0]?.finish()
    await settled()
    expect(batches()).toEqual(['a0', 'b0 c0 d0 e0'])
    runs[1]?.finish()
    await settled()
    expect(batches()).toEqual(['a0', 'b0 c0 d0 e0', 'f0'])
  })

  test('calls that come in one turn of the event loop go together', async () => {
    const { call, batches } = observed()
    for (const name of ['a', 'b', 'c']) call(name)
    await settle()
    expect(batches()).toEqual(['a0 b0 c0'])
  })

  test('whoever comes back with a result in hand goes along', async () => {
    const { runs, call, batches } = observed()
    const again = async (name: string) => {
      await call(name)
      await Promise.resolve()
      await call(`${name}'`)
    }
    const loops = ['a', 'b', 'c'].map(again)
    await settle()
    runs[0]?.finish()
    await settled()
    runs[1]?.finish()
    await Promise.all(loops)
    expect(batches()).toEqual(['a0 b0 c0', "a'0 b'0 c'0"])
  })

  test('a large call is divided, and its remainder shares a batch', async () => {
    const { runs, call, batches } = observed()
    const calls = [call('a', 6), call('b', 3)]
    await settle()
    runs[0]?.finish()
    await settled()
    runs[1]?.finish()
    await settled()
    runs[2]?.finish()
    expect(await Promise.all(calls)).toEqual(['a', 'b'])
    expect(batches()).toEqual(['a0 a1 a2 a3', 'a4 a5 b0 b1', 'b2'])
  })

  test('kinds do not mix; the first in line chooses', async () => {
    const { runs, call, batches } = observed()
    call('x')
    await settle()
    call('a', 1, { key: 'k2' })
    call('b')
    call('c', 1, { key: 'k2' })
    runs[0]?.finish()
    await settled()
    runs[1]?.finish()
    await settled()
    expect(batches()).toEqual(['x0', 'a0 c0', 'b0'])
  })

  test('higher priority first, then the order of the calls', async () => {
    const { runs, call, batches } = observed()
    call('x')
    await settle()
    call('a')
    call('b', 1, { priority: -1 })
    call('c', 1, { priority: 2 })
    call('d', 1, { priority: 2 })
    call('e')
    runs[0]?.finish()
    await settled()
    runs[1]?.finish()
    await settled()
    expect(batches()).toEqual(['x0', 'c0 d0 a0 e0', 'b0'])
  })

  test('maxDelayMs: waits for more, not for ever, and not when full', async () => {
    const { runs, call, batches } = observed({ maxDelayMs: 30 })
    const begun = performance.now()
    call('a')
    await settled()
    call('b')
    expect(runs).toHaveLength(0)
    await new Promise((resolve) => setTimeout(resolve, 45))
    expect(batches()).toEqual(['a0 b0'])
    expect(performance.now() - begun).toBeGreaterThanOrEqual(29)
    runs[0]?.finish()
    await settled()
    for (const name of ['c', 'd', 'e', 'f']) call(name)
    await settle()
    expect(batches()).toEqual(['a0 b0', 'c0 d0 e0 f0'])
  })

  test('several lanes share what is there', async () => {
    const { runs, call, batches } = observed({ shape: { lanes: 2, threads: 1 } })
    for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) call(name)
    await settle()
    expect(batches()).toEqual(['a0 b0 c0', 'd0 e0 f0'])
    for (const name of ['g', 'h']) call(name)
    await settled()
    expect(runs).toHaveLength(2)
    for (const { finish } of runs) finish()
    await settled()
    expect(batches().slice(2)).toEqual(['g0', 'h0'])
  })
})

describe('while more images are prepared than there are cores for', () => {
  // A busy machine's turns may take longer than the wait.
  beforeEach(() => {
    const real = ['setImmediate', 'clearImmediate', 'nextTick', 'queueMicrotask'] as const
    jest.useFakeTimers({ doNotFake: [...real] })
  })
  afterEach(() => {
    jest.useRealTimers()
  })

  test('a batch fills though lanes are free, which do not divide it', async () => {
    const { call, batches } = observed({ shape: { lanes: 2, threads: 1 } }, () => true)
    for (const name of ['a', 'b', 'c']) call(name)
    await settled()
    expect(batches()).toEqual([])
    call('d')
    await settled()
    expect(batches()).toEqual(['a0 b0 c0 d0'])
  })

  test('one that does not fill runs all the same, though nothing else comes', async () => {
    const { call, batches } = observed({}, () => true)
    call('a')
    jest.advanceTimersByTime(3)
    call('b')
    jest.advanceTimersByTime(1)
    await settled()
    expect(batches()).toEqual([])
    jest.advanceTimersByTime(1)
    await settled()
    expect(batches()).toEqual(['a0 b0'])
  })

  test('the last to be prepared waits for nobody', async () => {
    let preparing = true
    const { call, batches } = observed({}, () => preparing)
    call('a')
    call('b')
    await settled()
    preparing = false
    call('c')
    await settled()
    expect(batches()).toEqual(['a0 b0 c0'])
  })

  test('a full batch of lower priority does not take the lane from one that fills', async () => {
    const { runs, call, batches } = observed({}, () => true)
    call('urgent', 1, { priority: 1, key: 'another' })
    call('a', 4)
    await settled()
    expect(batches()).toEqual(['urgent0'])
    runs[0]?.finish()
    await settled()
    call('equal', 1, { key: 'another' })
    call('b', 4)
    for (const run of runs) run.finish()
    await settled()
    expect(batches()).toEqual(['urgent0', 'a0 a1 a2 a3', 'b0 b1 b2 b3'])
  })

  test('a call that is alone runs at once, in the batches that it always has', async () => {
    const { runs, call, batches } = observed({ shape: { lanes: 2, threads: 1 } }, () => true)
    call('a', 6)
    await settled()
    for (const { finish } of runs) finish()
    expect(batches()).toEqual(['a0 a1 a2', 'a3 a4 a5'])
  })
})

describe('threads that are divided as more batches wait', () => {
  const divided = (threads: number, moreToCome?: () => boolean) => {
    const shape = laneShape('auto', { device: 'cpu', threads })
    return observed({ shape, maxBatch: 2 }, moreToCome)
  }
  const threadsOf = (runs: Run[]) => runs.map(({ threads }) => threads)

  test('one batch has all, and others wait for it', async () => {
    const { runs, call, batches } = divided(4)
    call('a')
    await settled()
    for (const name of ['b', 'c', 'd']) call(name)
    await settled()
    expect(batches()).toEqual(['a0'])
    expect(threadsOf(runs)).toEqual([4])
  })

  test('as many batches as are full, each with its part', async () => {
    const { runs, call, batches } = divided(4)
    call('x')
    await settled()
    for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) call(name)
    runs[0]?.finish()
    await settled()
    // Three are full: two with half the threads each, and then there is none for the third.
    expect(batches()).toEqual(['x0', 'a0 b0', 'c0 d0'])
    expect(threadsOf(runs)).toEqual([4, 2, 2])
    runs[1]?.finish()
    await settled()
    expect(batches()[3]).toBe('e0 f0')
    expect(threadsOf(runs)[3]).toBe(2)
    call('g')
    runs[2]?.finish()
    runs[3]?.finish()
    await settled()
    expect(batches()[4]).toBe('g0')
    expect(threadsOf(runs).reduce((sum, threads) => sum + threads, 0)).toBeLessThanOrEqual(4 + 4 + 2 + 4)
  })

  test('few while cores are busy with images', async () => {
    const { runs, call, batches } = divided(4, () => true)
    for (const name of ['a', 'b']) call(name)
    await settled()
    expect(batches()).toEqual(['a0 b0'])
    expect(threadsOf(runs)).toEqual([1])
  })

  test('a call that is alone has all of them for every batch', async () => {
    const { runs, call } = divided(4, () => true)
    call('a', 6)
    for (let run = 0; run < 3; ++run) {
      await settled()
      runs[run]?.finish()
    }
    await settled()
    expect(threadsOf(runs)).toEqual([4, 4, 4])
  })
})

describe('the order of results', () => {
  test('that of the calls, whichever batch ends first', async () => {
    const { runs, order, call } = observed({ shape: { lanes: 2, threads: 1 }, maxBatch: 1 })
    for (const name of ['a', 'b', 'c']) call(name)
    await settle()
    runs[1]?.finish()
    await settled()
    expect(order).toEqual([])
    runs[2]?.finish()
    await settled()
    runs[0]?.finish()
    await settled()
    expect(order).toEqual(['a', 'b', 'c'])
  })

  test('a call of another priority, one that waits for strangers and a failed one pass', async () => {
    const { runs, order, call } = observed({ shape: { lanes: 4, threads: 1 }, maxBatch: 1 })
    call('a')
    call('high', 1, { priority: 1 })
    call('address', 1, { inOrder: false })
    const broken = call('broken')
    call('last')
    await settle()
    runs.find(({ names }) => names === 'high0')?.finish()
    runs.find(({ names }) => names === 'address0')?.finish()
    runs.find(({ names }) => names === 'broken0')?.fail(new Error('broken'))
    await expect(broken).rejects.toThrow('broken')
    await settled()
    runs.find(({ names }) => names === 'last0')?.finish()
    await settled()
    expect([...order].sort()).toEqual(['address', 'broken rejected', 'high'])
    runs.find(({ names }) => names === 'a0')?.finish()
    await settled()
    expect(order.slice(3)).toEqual(['a', 'last'])
  })
})

describe('abort', () => {
  const reason = new Error('changed my mind')

  test('before it starts: it leaves its batch, the others keep their places', async () => {
    const { runs, call, batches } = observed()
    const abort = new AbortController()
    const calls = [call('x')]
    await settle()
    calls.push(call('a'))
    const gone = call('b', 2, { signal: abort.signal })
    calls.push(call('c'))
    abort.abort(reason)
    await expect(gone).rejects.toBe(reason)
    runs[0]?.finish()
    await settled()
    runs[1]?.finish()
    await Promise.all(calls)
    expect(batches()).toEqual(['x0', 'a0 c0'])
  })

  test('in a running batch: it rejects at once, the batch runs on for the others', async () => {
    const { runs, call } = observed()
    const abort = new AbortController()
    const gone = call('a', 1, { signal: abort.signal })
    const stays = call('b')
    await settle()
    abort.abort(reason)
    await expect(gone).rejects.toBe(reason)
    expect(runs[0]?.signal.aborted).toBe(false)
    runs[0]?.finish()
    await expect(stays).resolves.toBe('b')
  })

  test('a batch that all have left is cancelled', async () => {
    const { runs, call } = observed()
    const aborts = [new AbortController(), new AbortController()]
    const calls = aborts.map(({ signal }, i) => call(`a${i}`, 1, { signal }))
    await settle()
    aborts[0]?.abort(reason)
    await settled()
    expect(runs[0]?.signal.aborted).toBe(false)
    aborts[1]?.abort(reason)
    expect(runs[0]?.signal.aborted).toBe(true)
    expect(await Promise.allSettled(calls)).toMatchObject([{ reason }, { reason }])
    const next = call('b')
    await settled()
    runs[1]?.finish()
    await next
  })

  test('with its result at hand, while an earlier call runs: it rejects at once', async () => {
    const { runs, order, call } = observed({ shape: { lanes: 2, threads: 1 }, maxBatch: 1 })
    const abort = new AbortController()
    const first = call('a')
    const gone = call('b', 1, { signal: abort.signal })
    await settle()
    runs[1]?.finish()
    await settled()
    expect(order).toEqual([])
    abort.abort(reason)
    await expect(gone).rejects.toBe(reason)
    runs[0]?.finish()
    await first
    expect(order).toEqual(['b rejected', 'a'])
  })

  test('a body that ends well all the same does not disturb the order of those that came since', async () => {
    const { scheduler, runs, order, call } = observed({ shape: { lanes: 2, threads: 1 }, maxBatch: 1 })
    const abort = new AbortController()
    let end = () => {}
    const body = () => new Promise<void>((resolve) => (end = resolve))
    const request = { method: 'classify', images: 1, priority: 0, inOrder: true, signal: abort.signal }
    const gone = scheduler.call(request, body)
    abort.abort(reason)
    await expect(gone).rejects.toBe(reason)
    call('a')
    end()
    await settled()
    call('b')
    await settled()
    runs[1]?.finish()
    await settled()
    runs[0]?.finish()
    await settled()
    expect(order).toEqual(['a', 'b'])
  })

  test('the waiting rest of a divided call leaves too', async () => {
    const { runs, scheduler, call, batches } = observed()
    const abort = new AbortController()
    const gone = call('a', 10, { signal: abort.signal })
    const stays = call('b')
    await settle()
    abort.abort(reason)
    await expect(gone).rejects.toBe(reason)
    await settled()
    expect(scheduler.queueDepth).toBe(0)
    expect(batches()).toEqual(['a0 a1 a2 a3', 'b0'])
    runs[1]?.finish()
    await stays
  })

  test('the body hears of it, whether its part waits or runs, and can clean up', async () => {
    const { scheduler, runs, part } = observed({ maxBatch: 2 })
    const abort = new AbortController()
    const request = { method: 'classify', priority: 0, inOrder: true, signal: abort.signal }
    const cleaned: string[] = []
    const calls = ['a', 'b'].map((name) =>
      scheduler.call({ ...request, images: 2 }, async ({ submit }) => {
        try {
          await submit({ key: 'k' }, part(name, 2))
        } finally {
          cleaned.push(name)
        }
      }),
    )
    await settle()
    expect(runs).toHaveLength(1)
    abort.abort(reason)
    await Promise.allSettled(calls)
    await settled()
    expect(cleaned).toEqual(['a', 'b'])
  })

  test('an aborted signal is refused before the body begins', async () => {
    const { scheduler } = observed()
    let begun = false
    const request = { method: 'classify', images: 1, priority: 0, inOrder: true }
    const call = scheduler.call({ ...request, signal: AbortSignal.abort('no') }, async () => {
      begun = true
    })
    await expect(call).rejects.toBe('no')
    expect(begun).toBe(false)
  })
})

describe('failures', () => {
  test("a share's failure is its call's alone", async () => {
    const { runs, call } = observed()
    const broken = call('a')
    const fine = call('b')
    await settle()
    runs[0]?.shares[0]?.fail(new Error('no memory for it'))
    runs[0]?.finish()
    await expect(broken).rejects.toThrow('no memory for it')
    await expect(fine).resolves.toBe('b')
  })

  test("a batch's failure is that of all in it, and the next one runs", async () => {
    const { runs, call } = observed()
    const calls = [call('a'), call('b')]
    await settle()
    runs[0]?.fail(new Error('device'))
    expect(await Promise.allSettled(calls)).toMatchObject([{ status: 'rejected' }, { status: 'rejected' }])
    const next = call('c')
    await settled()
    runs[1]?.finish()
    await next
  })
})

describe('maxQueue', () => {
  const code = 'ERR_RESNET_QUEUE_FULL'

  test('exactly so many wait; one more is refused whole, and what runs does not count', async () => {
    const { runs, call, scheduler } = observed({ maxQueue: 5 })
    const calls = [call('x', 4)]
    await settle()
    calls.push(call('a', 3), call('b', 2))
    expect(scheduler.queueDepth).toBe(5)
    await expect(call('c')).rejects.toMatchObject({ code })
    runs[0]?.finish()
    await settled()
    expect(scheduler.queueDepth).toBe(1)
    await expect(call('d', 5)).rejects.toMatchObject({ code })
    calls.push(call('e', 4))
    await expect(call('f')).rejects.toMatchObject({ code })
    for (let i = 1; i < 4; ++i) {
      await settled()
      runs[i]?.finish()
    }
    expect(await Promise.all(calls)).toEqual(['x', 'a', 'b', 'e'])
    expect(scheduler.queueDepth).toBe(0)
  })

  test('images that are still decoded wait too; who leaves makes room', async () => {
    const { scheduler } = observed({ maxQueue: 2 })
    const abort = new AbortController()
    const request = { method: 'classify', images: 2, priority: 0, inOrder: true }
    const decoding = scheduler.call({ ...request, signal: abort.signal }, () => new Promise(() => {}))
    const next = { ...request, images: 1 }
    await expect(scheduler.call(next, async () => 'ran')).rejects.toMatchObject({ code })
    abort.abort('gone')
    await expect(decoding).rejects.toBe('gone')
    await expect(scheduler.call(next, async () => 'ran')).resolves.toBe('ran')
  })

  test('the message says what would fit', async () => {
    const { call } = observed({ maxQueue: 3 })
    await expect(call('a', 4)).rejects.toThrow(
      'classify: expected at most 3 waiting images (maxQueue), received 4 more while 0 wait; pass fewer at once',
    )
  })
})

describe('close', () => {
  const code = 'ERR_RESNET_DISPOSED'

  test('waits for what runs, refuses what waits and what comes', async () => {
    const { scheduler, runs, call } = observed({ maxBatch: 1 })
    const running = call('a')
    const waiting = call('b')
    await settle()
    let closed = false
    const closing = scheduler.close().then(() => {
      closed = true
    })
    await expect(waiting).rejects.toMatchObject({ code })
    await expect(call('c')).rejects.toMatchObject({ code })
    expect(closed).toBe(false)
    runs[0]?.finish()
    await expect(running).resolves.toBe('a')
    await closing
    expect(runs).toHaveLength(1)
  })

  test('a call that has begun runs to its end', async () => {
    const { scheduler, runs, call } = observed()
    const long = call('a', 9)
    await settle()
    const closing = scheduler.close()
    for (let i = 0; i < 3; ++i) {
      runs[i]?.finish()
      await settled()
    }
    await expect(long).resolves.toBe('a')
    await closing
  })

  test('a call that prepares and has nothing in a batch is refused at once', async () => {
    const { scheduler } = observed()
    const request = { method: 'classify', images: 1, priority: 0, inOrder: true }
    const call = scheduler.call(request, () => new Promise(() => {}))
    await Promise.all([scheduler.close(), expect(call).rejects.toMatchObject({ code })])
  })

  test('a batch that everybody left is waited for', async () => {
    let end = () => {}
    const scheduler = new Scheduler<Kind>(
      { owner: 'The model', shape: { lanes: 1, threads: 1 }, maxBatch: 4, maxDelayMs: 0, maxQueue: 9 },
      () => new Promise<void>((resolve) => (end = resolve)),
    )
    const abort = new AbortController()
    const request = { method: 'classify', images: 1, priority: 0, inOrder: true, signal: abort.signal }
    const call = scheduler.call(request, ({ submit }) =>
      submit({ key: 'k' }, { images: 1, slice: () => ({ pieces: [], outputs: () => [] }) }),
    )
    await settle()
    abort.abort('gone')
    await expect(call).rejects.toBe('gone')
    let closed = false
    const closing = scheduler.close().then(() => (closed = true))
    await settled()
    expect(closed).toBe(false)
    end()
    await closing
  })

  test('idle and twice', async () => {
    const { scheduler } = observed()
    await scheduler.close()
    await scheduler.close()
  })
})

describe('the gate before the decoder', () => {
  const { signal } = new AbortController()
  const place = (sequence: number, priority = 0) => ({ sequence, priority })

  test('admits up to its limit, then in line', async () => {
    const gate = new Gate(4)
    const events: string[] = []
    const enter = (name: string, count: number, at: ReturnType<typeof place>, given = signal) =>
      gate.enter(count, at, given).then(
        () => events.push(name),
        () => events.push(`${name} gone`),
      )
    const abort = new AbortController()
    void enter('a', 3, place(0))
    void enter('b', 2, place(1), abort.signal)
    void enter('c', 1, place(2))
    void enter('d', 1, place(3, 1))
    await settle()
    // The first in line does not fit, and nobody overtakes it but by priority.
    expect(events).toEqual(['a', 'd'])
    abort.abort()
    await settle()
    expect(events).toEqual(['a', 'd', 'b gone'])
    gate.leave(3)
    await settle()
    expect(events).toEqual(['a', 'd', 'b gone', 'c'])
  })

  test('who gives up makes room for others that give up with it, and nobody else loses his place', async () => {
    const gate = new Gate(4)
    const call = new Stop()
    await gate.enter(2, place(0), signal)
    // Parts of one call: the second fits once the first does not stand before it.
    const parts = [gate.enter(3, place(1), call), gate.enter(1, place(2), call)]
    const entered: string[] = []
    const others = ['a', 'b'].map((name, i) =>
      gate.enter(2, place(3 + i), signal).then(() => entered.push(name)),
    )
    call.abort('gone')
    const [first, second] = await Promise.allSettled(parts)
    expect(first?.status).toBe('rejected')
    expect(second?.status).toBe('fulfilled')
    gate.leave(1)
    await settle()
    gate.leave(2)
    await settle()
    expect(entered).toEqual(['a', 'b'])
    await Promise.all(others)
  })

  test('more than the limit enter when it is empty', async () => {
    const gate = new Gate(2)
    await gate.enter(5, place(0), signal)
    let entered = false
    const second = gate.enter(1, place(1), signal).then(() => (entered = true))
    gate.leave(2)
    await settle()
    expect(entered).toBe(false)
    gate.leave(3)
    await second
  })
})
