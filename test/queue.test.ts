import { CallQueue } from '../lib/queue.js'

interface Deferred {
  promise: Promise<void>
  resolve(): void
}
function deferred(): Deferred {
  let resolve = () => {}
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}
const settle = () => new Promise<void>((resolve) => setImmediate(resolve))

/** A queue whose tasks end when they are told to, and what has happened. */
function observed() {
  const queue = new CallQueue('The model')
  const events: string[] = []
  const gates = new Map<string, Deferred>()
  const call = (name: string, turns = 1, signal?: AbortSignal) =>
    queue.call(signal, async (turn) => {
      for (let i = 0; i < turns; ++i) {
        const step = `${name}${i}`
        gates.set(step, deferred())
        await turn(async () => {
          events.push(`${step} begins`)
          await gates.get(step)?.promise
          events.push(`${step} ends`)
        })
      }
      return name
    })
  return { queue, events, call, finish: (step: string) => gates.get(step)?.resolve() }
}

describe('turns', () => {
  test('one at a time, first come, first served', async () => {
    const { events, call, finish } = observed()
    const calls = [call('a'), call('b'), call('c')]
    await settle()
    expect(events).toEqual(['a0 begins'])
    for (const step of ['a0', 'b0', 'c0']) {
      finish(step)
      await settle()
    }
    expect(await Promise.all(calls)).toEqual(['a', 'b', 'c'])
    expect(events).toEqual(['a0 begins', 'a0 ends', 'b0 begins', 'b0 ends', 'c0 begins', 'c0 ends'])
  })

  test('a call of several turns lets others in between', async () => {
    const { events, call, finish } = observed()
    const calls = [call('a', 2), call('b')]
    await settle()
    for (const step of ['a0', 'b0', 'a1']) {
      finish(step)
      await settle()
    }
    await Promise.all(calls)
    expect(events.filter((event) => event.endsWith('begins'))).toEqual([
      'a0 begins',
      'b0 begins',
      'a1 begins',
    ])
  })

  test('a failed task gives its turn on', async () => {
    const queue = new CallQueue('The model')
    const failing = queue.call(undefined, (turn) => turn(() => Promise.reject(new Error('broken'))))
    const next = queue.call(undefined, (turn) => turn(async () => 'fine'))
    await expect(failing).rejects.toThrow('broken')
    await expect(next).resolves.toBe('fine')
  })
})

describe('abort', () => {
  test('a waiting call leaves at once with the reason; the others keep their places', async () => {
    const { events, call, finish } = observed()
    const abort = new AbortController()
    const first = call('a')
    const waiting = call('b', 1, abort.signal)
    const last = call('c')
    await settle()
    const reason = new Error('changed my mind')
    abort.abort(reason)
    await expect(waiting).rejects.toBe(reason)
    expect(events).toEqual(['a0 begins'])
    finish('a0')
    await settle()
    finish('c0')
    expect(await Promise.all([first, last])).toEqual(['a', 'c'])
  })

  test('an aborted signal is refused before the body begins', async () => {
    const queue = new CallQueue('The model')
    let begun = false
    const call = queue.call(AbortSignal.abort('no'), async () => {
      begun = true
    })
    await expect(call).rejects.toBe('no')
    expect(begun).toBe(false)
  })
})

describe('close', () => {
  test('waits for what runs, refuses what waits and what comes', async () => {
    const { queue, call, finish } = observed()
    const running = call('a')
    const waiting = call('b')
    await settle()
    let closed = false
    const closing = queue.close().then(() => {
      closed = true
    })
    await expect(waiting).rejects.toMatchObject({ code: 'ERR_RESNET_DISPOSED' })
    await expect(call('c')).rejects.toMatchObject({ code: 'ERR_RESNET_DISPOSED' })
    expect(closed).toBe(false)
    finish('a0')
    await expect(running).resolves.toBe('a')
    await closing
    expect(closed).toBe(true)
  })

  test('a call that has begun takes the rest of its turns', async () => {
    const { queue, call, finish } = observed()
    const long = call('a', 3)
    await settle()
    const closing = queue.close()
    for (const step of ['a0', 'a1', 'a2']) {
      finish(step)
      await settle()
    }
    await expect(long).resolves.toBe('a')
    await closing
  })

  test('a call that prepares and had no turn yet is refused one', async () => {
    const queue = new CallQueue('The model')
    const preparing = deferred()
    const call = queue.call(undefined, async (turn) => {
      await preparing.promise
      return turn(async () => 'ran')
    })
    await queue.close()
    preparing.resolve()
    await expect(call).rejects.toMatchObject({ code: 'ERR_RESNET_DISPOSED' })
  })

  test('idle and twice', async () => {
    const queue = new CallQueue('The model')
    await queue.close()
    await queue.close()
  })
})
