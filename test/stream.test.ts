import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Stop } from '../lib/abort.js'
import { models, ResNet } from '../lib/index.js'
import { packageRoot } from '../lib/root.js'
import { streamed } from '../lib/stream.js'
import { refusal } from './support/refusal.js'

const settle = () => new Promise<void>((resolve) => setImmediate(resolve))
const sample = (digit: number) => path.join(packageRoot, 'models', 'samples', `${digit}.png`)

/** A source that says what was asked of it. */
function numbers(count = Number.POSITIVE_INFINITY) {
  const state = { given: 0, closed: false }
  async function* source() {
    try {
      while (state.given < count) yield state.given++
    } finally {
      state.closed = true
    }
  }
  return { state, source: source() }
}

describe('the order of work', () => {
  const double = async (input: number) => {
    await new Promise((resolve) => setTimeout(resolve, (input * 7) % 5))
    if (input === 3) throw new Error('three')
    return { doubled: 2 * input }
  }

  test('results and errors come in the order of the inputs', async () => {
    const items = []
    for await (const item of streamed(numbers(6).source, { concurrency: 4 }, double)) items.push(item)
    expect(items).toEqual([
      { input: 0, doubled: 0 },
      { input: 1, doubled: 2 },
      { input: 2, doubled: 4 },
      { input: 3, error: new Error('three') },
      { input: 4, doubled: 8 },
      { input: 5, doubled: 10 },
    ])
  })

  test('a list is a source too, an empty one ends at once', async () => {
    const items = []
    for await (const item of streamed([1, 2], { concurrency: 9 }, double)) items.push(item)
    expect(items).toHaveLength(2)
    for await (const _ of streamed([], { concurrency: 9 }, double)) throw new Error('unexpected')
  })

  test('no more inputs are taken than there is room for, and none while nobody takes results', async () => {
    const { state, source } = numbers()
    let busy = 0
    let most = 0
    const stream = streamed(source, { concurrency: 3 }, async (input) => {
      most = Math.max(most, ++busy)
      await settle()
      --busy
      return { input }
    })
    for (let i = 0; i < 20; ++i) await stream.next()
    for (let i = 0; i < 20; ++i) await settle()
    expect(state.given).toBeLessThanOrEqual(24)
    expect(most).toBe(3)
    await stream.return()
    expect(state.closed).toBe(true)
  })

  test('results do not wait for a source that has nothing at the moment', async () => {
    async function* slow() {
      yield 1
      await new Promise(() => {})
    }
    const stream = streamed(slow(), { concurrency: 4 }, double)
    expect(await stream.next()).toEqual({ done: false, value: { input: 1, doubled: 2 } })
    await stream.return()
  })

  test('leaving the loop aborts what is under way and closes the source', async () => {
    const { state, source } = numbers()
    const aborted: number[] = []
    const work = (input: number, signal: Stop) =>
      input === 0
        ? Promise.resolve({ input })
        : new Promise<{ input: number }>((_, reject) => {
            signal.listen(() => {
              aborted.push(input)
              reject(signal.reason)
            })
          })
    for await (const { input } of streamed(source, { concurrency: 3 }, work)) {
      expect(input).toBe(0)
      await settle()
      break
    }
    expect(aborted.length).toBeGreaterThan(0)
    expect(state.closed).toBe(true)
  })

  test('a signal ends it with its reason, even while the source is silent', async () => {
    const abort = new AbortController()
    async function* silent() {
      yield 1
      await new Promise(() => {})
    }
    const stream = streamed(silent(), { concurrency: 2, signal: abort.signal }, double)
    await stream.next()
    setTimeout(() => abort.abort('enough'), 5)
    await expect(stream.next()).rejects.toBe('enough')
    expect(await stream.next()).toEqual({ done: true, value: undefined })
  })

  test("the source's failure comes after the results before it", async () => {
    async function* failing() {
      yield 1
      yield 2
      throw new Error('no more')
    }
    const seen: number[] = []
    const loop = async () => {
      for await (const { input } of streamed(failing(), { concurrency: 9 }, double)) seen.push(input)
    }
    await expect(loop()).rejects.toThrow('no more')
    expect(seen).toEqual([1, 2])
  })
})

test('a source that fails at its closing: a loop that is left hears of it, one that fails has its own reason', async () => {
  const source = {
    [Symbol.iterator]: () => ({
      next: () => ({ done: false, value: 1 }),
      return: (): never => {
        throw new Error('cannot be closed')
      },
    }),
  }
  const work = async (input: number) => ({ input })
  const left = streamed(source, { concurrency: 2 }, work)
  await left.next()
  await expect(left.return()).rejects.toThrow('cannot be closed')
  const abort = new AbortController()
  const aborted = streamed(source, { concurrency: 2, signal: abort.signal }, work)
  await aborted.next()
  abort.abort('enough')
  await expect(aborted.next()).rejects.toBe('enough')
})

describe('streams of images', () => {
  let model: ResNet
  beforeAll(async () => {
    model = await ResNet.load(models.digits)
  })
  afterAll(() => model.dispose())

  async function* digits(count: number) {
    for (let i = 0; i < count; ++i) yield sample(i % 10)
  }

  test('classifyStream names every image, in order', async () => {
    let count = 0
    for await (const { input, predictions, error } of model.classifyStream(digits(50), { topK: 1 })) {
      expect(error).toBeUndefined()
      expect(`${predictions?.[0]?.index}.png`).toBe(path.basename(input))
      count += 1
    }
    expect(count).toBe(50)
    expect(Math.max(...Object.keys(model.stats().batchSizes).map(Number))).toBeGreaterThan(1)
  })

  test('embedStream gives what embed gives', async () => {
    const expected = await model.embed(sample(4))
    for await (const { embedding } of model.embedStream([sample(4)])) {
      expect(embedding?.shape).toEqual(expected.shape)
      expect(Array.from(embedding?.data ?? [])).toEqual(Array.from(expected.data))
    }
  })

  test('a bad image is an item, not the end', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'resnet-stream-'))
    const torn = path.join(folder, 'torn.png')
    writeFileSync(torn, 'no image')
    const codes: unknown[] = []
    for await (const { error } of model.classifyStream([
      sample(1),
      torn,
      path.join(folder, 'none'),
      sample(2),
    ])) {
      codes.push((error as { code?: string } | undefined)?.code)
    }
    rmSync(folder, { recursive: true })
    expect(codes).toEqual([undefined, 'ERR_RESNET_IMAGE', 'ERR_RESNET_IO', undefined])
  })

  test('a full queue is waited for, which counts as no refusal', async () => {
    let full = 0
    const onError = (message: unknown) => {
      if ((message as { error: { code?: string } }).error.code === 'ERR_RESNET_QUEUE_FULL') ++full
    }
    subscribe('tracing:resnet:call:error', onError)
    const narrow = await ResNet.load(models.digits, { maxQueue: 2, maxBatch: 1 })
    let count = 0
    for await (const { error } of narrow.classifyStream(digits(30), { concurrency: 8 })) {
      expect(error).toBeUndefined()
      count += 1
    }
    expect(count).toBe(30)
    unsubscribe('tracing:resnet:call:error', onError)
    expect(full).toBeGreaterThan(0)
    const { refused, completed } = narrow.stats().calls
    expect({ refused, completed }).toEqual({ refused: 0, completed: 30 })
    await narrow.dispose()
  })

  test('a disposed model ends it', async () => {
    const gone = await ResNet.load(models.digits)
    await gone.dispose()
    const stream = gone.classifyStream(digits(3))
    expect((await refusal(() => stream.next())).code).toBe('ERR_RESNET_DISPOSED')
  })

  test('wrong use', async () => {
    for (const call of [
      () => model.classifyStream('photos/' as never),
      () => model.embedStream(Buffer.from('x') as never),
      () => model.classifyStream([], { concurrency: 0 }),
      () => model.embedStream([], { topK: 1 } as never),
    ]) {
      expect((await refusal(call)).code).toBe('ERR_RESNET_INVALID_ARGUMENT')
    }
  })
})
