import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import sharp, { type Sharp } from 'sharp'
import { laneShape } from '../lib/batching/lanes.js'
import type { Observer } from '../lib/batching/recorder.js'
import { models, type Prediction, ResNet, Tensor } from '../lib/index.js'
import { loadBinding } from '../lib/native/load.js'
import { packageRoot } from '../lib/root.js'
import { refusal } from './support/refusal.js'

const digits = Array.from({ length: 10 }, (_, digit) =>
  readFileSync(path.join(packageRoot, 'models', 'samples', `${digit}.png`)),
)
const digit = (i: number) => digits[i % 10] as Buffer
const best = (predictions: Prediction[]) => predictions[0]?.index
const largestBatch = (model: ResNet) => Math.max(0, ...Object.keys(model.stats().batchSizes).map(Number))
const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))
const quantile = (values: number[], q: number) =>
  values.sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(q * values.length))] as number

/** Tells `observer` alone what it asks for, until the returned function is called. */
function observing(watched: ResNet, observer: Partial<Observer>): () => void {
  const nothing = { queued: () => {}, decoded: () => {}, computed: () => {}, ended: () => {} }
  return watched.observe({ ...nothing, ...observer })
}

/** The most lanes that have a batch at once, looked at whenever an image is in one. */
function watchLanes(watched: ResNet) {
  const seen = { most: 0, look: () => {}, stop: () => {} }
  seen.look = () => {
    seen.most = Math.max(seen.most, watched.stats().busyLanes)
  }
  seen.stop = observing(watched, { queued: seen.look })
  return seen
}

let model: ResNet
beforeAll(async () => {
  model = await ResNet.load(models.digits)
})
afterAll(() => model.dispose())

describe('concurrent calls share batches', () => {
  test('with the results of lone calls, in the order of the calls', async () => {
    const alone: Prediction[][] = []
    for (const image of digits) alone.push(await model.classify(image))
    const order: number[] = []
    const together = await Promise.all(
      Array.from({ length: 64 }, async (_, i) => {
        const predictions = await model.classify(digit(i))
        order.push(i)
        return predictions
      }),
    )
    for (const [i, predictions] of together.entries()) {
      const expected = (alone[i % 10] as Prediction[]).map(({ score, ...rest }) => ({
        ...rest,
        score: expect.closeTo(score, 5),
      }))
      expect(predictions).toEqual(expected)
    }
    expect(order).toEqual(Array.from({ length: 64 }, (_, i) => i))
    expect(largestBatch(model)).toBeGreaterThan(1)
  })

  test('in the order of the calls whatever their methods', async () => {
    const order: number[] = []
    const calls = Array.from({ length: 40 }, async (_, i) => {
      if (i % 2 === 0) await model.classify(digit(i))
      else if (i % 4 === 1) await model.embed(digit(i))
      else await model.features(digit(i), ['layer1'])
      order.push(i)
    })
    await Promise.all(calls)
    expect(order).toEqual([...calls.keys()])
  })

  test('different methods and sizes of batch at once', async () => {
    const [pooled, lists, one] = await Promise.all([
      model.embed(digits),
      model.classify([...digits, ...digits]),
      model.classify(digit(4), { topK: 2 }),
    ])
    expect(pooled.shape[0]).toBe(10)
    expect(lists.map(best)).toEqual([...digits.keys(), ...digits.keys()])
    expect(one).toHaveLength(2)
    expect(best(one)).toBe(4)
  })

  test('a bad image fails its call alone', async () => {
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, (_, i) => model.classify(i % 5 === 3 ? Buffer.from('no image') : digit(i))),
    )
    for (const [i, outcome] of outcomes.entries()) {
      if (i % 5 === 3) expect(outcome).toMatchObject({ reason: { code: 'ERR_RESNET_IMAGE' } })
      else expect(outcome.status === 'fulfilled' && best(outcome.value)).toBe(i % 10)
    }
  })

  test('nor is it overlooked in a long list, though it fails while another image ends', async () => {
    const single = await ResNet.load(models.digits, { maxBatch: 1 })
    const raw = { data: new Uint8Array(28 * 28), width: 28, height: 28, channels: 1 } as const
    // As sharp instances are, as far as they are used.
    const late = (failing: Promise<never>) => {
      const image = { metadata: () => {}, toBuffer: () => failing } as Record<string, unknown>
      for (const step of ['clone', 'removeAlpha', 'toColourspace', 'raw']) image[step] = () => image
      return image as unknown as Sharp
    }
    for (let turns = 0; turns < 40; ++turns) {
      let fail = (_: Error) => {}
      const failing = new Promise<never>((_, reject) => (fail = reject))
      const stop = observing(single, {
        computed: async () => {
          for (let i = 0; i < turns; ++i) await undefined
          fail(new Error('cut short'))
        },
      })
      const { code, index } = await refusal(() => single.embed([raw, late(failing), raw]))
      expect([turns, code, index]).toEqual([turns, 'ERR_RESNET_IMAGE', 1])
      stop()
    }
    await single.dispose()
  })

  test('aborted calls disturb nobody, whenever they leave', async () => {
    for (let round = 0; round < 10; ++round) {
      const reason = new Error('gone')
      const aborts = Array.from({ length: 30 }, () => new AbortController())
      const calls = aborts.map(({ signal }, i) => model.classify(digit(i), { signal }))
      const leaving = aborts.filter((_, i) => i % 3 === round % 3)
      for (const [i, abort] of leaving.entries()) setTimeout(() => abort.abort(reason), (i * round) / 4)
      for (const [i, outcome] of (await Promise.allSettled(calls)).entries()) {
        if (outcome.status === 'fulfilled') expect(best(outcome.value)).toBe(i % 10)
        else expect([i % 3, outcome.reason]).toEqual([round % 3, reason])
      }
    }
    expect(model.stats()).toMatchObject({ queueDepth: 0, busyLanes: 0 })
  })

  test('aborted calls leave room for the decoding of others', async () => {
    const narrow = await ResNet.load(models.digits, { maxBatch: 1 })
    const busy = narrow.forward(Tensor.from(new Float32Array(1000 * 28 * 28), [1000, 1, 28, 28]))
    for (let round = 0; round < 3; ++round) {
      const abort = new AbortController()
      const calls = Array.from({ length: 20 }, (_, i) => narrow.classify(digit(i), { signal: abort.signal }))
      // Some are decoded and wait for the lane by then.
      while (narrow.stats().latencyMs.decode.count < 16 * (round + 1)) await pause(1)
      abort.abort('gone')
      expect((await Promise.allSettled(calls)).every(({ status }) => status === 'rejected')).toBe(true)
    }
    await busy
    expect(best(await narrow.classify(digit(8)))).toBe(8)
    await narrow.dispose()
  })

  test('a higher priority overtakes', async () => {
    const order: string[] = []
    const x = (images: number) => Tensor.from(new Float32Array(images * 28 * 28), [images, 1, 28, 28])
    await using single = await ResNet.load(models.digits, { lanes: 'latency' })
    const call = (name: string, images: number, priority: number) =>
      single.forward(x(images), { priority }).then(() => order.push(name))
    const long = call('long', 200, 0)
    await pause(1)
    await Promise.all([long, call('last', 1, -1), call('urgent', 1, 5)])
    expect(order).toEqual(['urgent', 'long', 'last'])
  })

  test('an image that keeps one waiting holds nobody up', async () => {
    const stream = sharp()
    const slow = model.classify(stream)
    expect(best(await model.classify(digit(6)))).toBe(6)
    stream.end(digit(7))
    expect(best(await slow)).toBe(7)
  })

  test('nor do images beside it in one call, even when that is given up', async () => {
    const abort = new AbortController()
    const streams = Array.from({ length: 4 }, () => sharp())
    const calls = streams.map((stream) =>
      model.classify([...digits.slice(0, 7), stream], { signal: abort.signal }),
    )
    expect(best(await model.classify(digit(6)))).toBe(6)
    streams[0]?.end(digit(7))
    expect((await calls[0])?.map(best)).toEqual([...digits.keys()].slice(0, 8))
    abort.abort('gone')
    expect((await Promise.allSettled(calls)).map(({ status }) => status)).toEqual([
      'fulfilled',
      'rejected',
      'rejected',
      'rejected',
    ])
    const many = await Promise.all(Array.from({ length: 20 }, (_, i) => model.classify(digit(i))))
    expect(many.map(best)).toEqual(Array.from({ length: 20 }, (_, i) => i % 10))
    expect(model.stats()).toMatchObject({ queueDepth: 0, busyLanes: 0 })
  })

  test('wrong options are named', async () => {
    for (const [options, word] of [
      [{ maxQueue: 0 }, 'maxQueue'],
      [{ maxDelayMs: -1 }, 'maxDelayMs'],
      [{ maxDelayMs: Number.NaN }, 'maxDelayMs'],
      [{ lanes: 'fast' }, "'latency', 'throughput'"],
      [{ lanes: 0 }, "'latency', 'throughput'"],
    ] as const) {
      const error = await refusal(() => ResNet.load(models.digits, options as never))
      expect(error.code).toBe('ERR_RESNET_INVALID_ARGUMENT')
      expect(error.message).toContain(word)
    }
    const error = await refusal(() => model.classify(digit(1), { priority: 0.5 }))
    expect(error.message).toContain('priority')
  })
})

describe('lanes', () => {
  const lanesAlive = () => loadBinding().counters().lanes

  test.each([
    ['throughput', 7, 7],
    [2, 5, 2],
    ['latency', 2, 1],
  ] as const)('%s with %d threads: %d', async (lanes, threads, expected) => {
    const before = lanesAlive()
    const several = await ResNet.load(models.digits, { lanes, threads, maxBatch: 4 })
    await several.warmup({ height: 28, width: 28, batches: [4] })
    expect(lanesAlive() - before).toBe(expected)
    const calls = await Promise.all(Array.from({ length: 120 }, (_, i) => several.classify(digit(i))))
    expect(calls.map(best)).toEqual(Array.from({ length: 120 }, (_, i) => i % 10))
    const stats = several.stats()
    expect(stats.lanes).toBe(expected)
    // Lanes run side by side only if there are threads for all of them.
    expect(loadBinding().counters().poolThreads).toBeGreaterThanOrEqual(
      expected * Math.max(1, Math.floor(threads / expected)),
    )
    expect(stats.images).toBe(120)
    await several.dispose()
  })

  test('by default as many as there are full batches for', async () => {
    const several = await ResNet.load(models.digits, { threads: 4, maxBatch: 2 })
    await several.warmup({ height: 28, width: 28, batches: [1, 2] })
    const lanes = watchLanes(several)
    const pixels = Array.from({ length: 10 }, (_, i) => i)
    expect(best(await several.classify(digit(3)))).toBe(3)
    expect(lanes.most).toBe(1)
    const x = Tensor.from(new Float32Array(28 * 28).fill(0.5), [1, 1, 28, 28])
    const logits = await Promise.all(Array.from({ length: 200 }, () => several.forward(x)))
    expect(logits).toHaveLength(200)
    const calls = await Promise.all(pixels.map((i) => several.classify(digit(i))))
    expect(calls.map(best)).toEqual(pixels)
    lanes.stop()
    expect(several.stats().lanes).toBe(4)
    expect(lanes.most).toBeGreaterThan(1)
    expect(lanes.most).toBeLessThanOrEqual(4)
    await several.dispose()
  })

  test('one call with many images uses them all', async () => {
    const several = await ResNet.load(models.digits, { lanes: 2, threads: 2, maxBatch: 2 })
    await several.warmup({ height: 28, width: 28, batches: [1, 2] })
    const lanes = watchLanes(several)
    const watch = setInterval(lanes.look)
    const lists = await several.classify(Array.from({ length: 100 }, (_, i) => digit(i)))
    clearInterval(watch)
    lanes.stop()
    expect(lists.map(best)).toEqual(Array.from({ length: 100 }, (_, i) => i % 10))
    expect(lanes.most).toBe(2)
    await several.dispose()
  })
})

test.each([
  ['latency', 'cpu', { lanes: 1, threads: 8 }],
  ['auto', 'cpu', { lanes: 8, threads: 8, shares: [8, 4, 2, 1] }],
  ['auto', 'cuda:0', { lanes: 1, threads: 8 }],
  ['throughput', 'cpu', { lanes: 8, threads: 1 }],
  [3, 'cpu', { lanes: 3, threads: 2 }],
  [20, 'cpu', { lanes: 20, threads: 1 }],
  ['throughput', 'cuda:0', { lanes: 2, threads: 8 }],
  [3, 'cuda:0', { lanes: 3, threads: 8 }],
] as const)('lanes %s of 8 threads on %s', (lanes, device, shape) => {
  expect(laneShape(lanes, { device, threads: 8 })).toEqual(shape)
})

describe('overload', () => {
  const overload = (...args: string[]) => {
    const script = path.join(packageRoot, 'bench', 'overload.mjs')
    const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], { encoding: 'utf8' })
    return { status, stderr, ...JSON.parse(stdout) }
  }

  test('at three times capacity: accepted calls are bounded, the rest is refused at once, nothing is lost', () => {
    const report = overload('--seconds', '2', '--slack', '10')
    expect(report).toMatchObject({ status: 0, stderr: '', broken: [], failed: 0 })
    expect(report.refused.calls).toBeGreaterThan(report.sent / 4)
    expect(report.accepted.calls).toBeGreaterThan(32)
  })

  test('and a queue that makes its callers wait is found out', () => {
    const report = overload('--seconds', '2', '--slack', '0.1')
    expect(report.status).toBe(1)
    expect(report.broken).toContainEqual(expect.stringContaining('the accepted waited'))
  })
})

describe('a lone call', () => {
  const x = Tensor.from(new Float32Array(28 * 28).fill(0.5), [1, 1, 28, 28])

  /** What calls take beyond the run of their batch. A low quantile: a busy machine interrupts every other call. */
  async function overhead(lone: ResNet, calls: number): Promise<number> {
    let computed = 0
    const stop = observing(lone, {
      computed: (milliseconds) => {
        computed = milliseconds
      },
    })
    const overheads: number[] = []
    for (let i = 0; i < calls; ++i) {
      const begun = performance.now()
      await lone.forward(x)
      overheads.push(performance.now() - begun - computed)
    }
    stop()
    return quantile(overheads, 0.05)
  }

  test('pays less than 0.3 ms over its network', async () => {
    expect(await overhead(model, 300)).toBeLessThan(0.3)
  })

  test('and a delay is found out', async () => {
    const delayed = await ResNet.load(models.digits, { maxDelayMs: 1 })
    expect(await overhead(delayed, 50)).toBeGreaterThan(0.3)
    await delayed.dispose()
  })
})

describe('memory', () => {
  const soak = (...args: string[]) =>
    spawnSync(process.execPath, ['--expose-gc', path.join(packageRoot, 'bench', 'soak.mjs'), ...args], {
      encoding: 'utf8',
    })

  test('is flat over a stream of images', () => {
    const { status, stdout, stderr } = soak('--images', '3000')
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(JSON.parse(stdout)).toMatchObject({ images: 3000, flat: true })
  })

  test('and a stream that leaks is found out', () => {
    const { status, stdout } = soak('--images', '3000', '--warmup', '0', '--leak')
    expect(status).toBe(1)
    expect(JSON.parse(stdout)).toMatchObject({ flat: false })
  })
})
