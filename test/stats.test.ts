import { tracingChannel } from 'node:diagnostics_channel'
import { Registry } from 'prom-client'
import { type BatchTrace, type CallTrace, ResNet, Tensor } from '../lib/index.js'
import { publishMetrics } from '../lib/metrics.js'
import { refusal } from './support/refusal.js'
import { smallOptions } from './support/small-network.js'

const x = (n: number) => Tensor.from(new Float32Array(n * 3 * 64).fill(0.5), [n, 3, 8, 8])
const picture = { data: new Uint8Array(192).fill(9), width: 8, height: 8, channels: 3 } as const
const create = (options = {}) =>
  ResNet.create(smallOptions, { maxBatch: 4, preprocess: { resize: null, crop: null }, ...options })

describe('stats', () => {
  test('counts calls, images and batches', async () => {
    const model = await create({ maxQueue: 12, lanes: 'latency' })
    const empty = model.stats()
    expect(empty).toMatchObject({ device: 'cpu', dtype: 'float32', lanes: 1, images: 0, queueDepth: 0 })
    expect(empty.latencyMs.queue).toEqual({ count: 0, mean: 0, p50: 0, p90: 0, p99: 0, p999: 0, max: 0 })
    expect(empty.memory).toEqual({ programs: 0, weightBytes: 0, arenaBytes: 0 })

    const aborted = model.forward(x(1), { signal: AbortSignal.timeout(0) })
    const abort = new AbortController()
    const calls = [model.forward(x(6)), model.forward(x(1), { signal: abort.signal }), model.forward(x(3))]
    abort.abort('no')
    const waiting = model.stats().queueDepth
    const refused = await refusal(() => model.forward(x(13)))
    expect(refused.code).toBe('ERR_RESNET_QUEUE_FULL')
    const outcomes = await Promise.allSettled([
      aborted,
      ...calls,
      model.classify([picture, new Uint8Array(0)]),
    ])
    expect(outcomes.filter(({ status }) => status === 'fulfilled').length).toBeGreaterThanOrEqual(2)
    expect(waiting).toBeGreaterThan(0)

    await model.classify(picture)
    const { calls: ended, batchSizes, images, latencyMs, memory, queueDepth, busyLanes } = model.stats()
    expect(ended.refused).toBe(1)
    expect(ended.failed).toBe(1)
    expect(ended.aborted).toBeGreaterThanOrEqual(1)
    expect(ended.completed + ended.aborted).toBe(5)
    const counted = Object.entries(batchSizes).reduce((sum, [size, count]) => sum + Number(size) * count, 0)
    expect(images).toBe(counted)
    expect(Math.max(...Object.keys(batchSizes).map(Number))).toBe(4)
    expect({ queueDepth, busyLanes }).toEqual({ queueDepth: 0, busyLanes: 0 })
    expect(latencyMs.decode.count).toBeGreaterThanOrEqual(1)
    expect(latencyMs.queue.count).toBeGreaterThanOrEqual(images)
    expect(latencyMs.compute.count).toBe(Object.values(batchSizes).reduce((sum, count) => sum + count, 0))
    for (const { p50, p90, p99, p999, max, mean } of Object.values(latencyMs)) {
      expect(mean).toBeGreaterThan(0)
      expect([p50, p90, p99, p999]).toEqual([p50, p90, p99, p999].sort((a, b) => a - b))
      expect(p50).toBeGreaterThan(0)
      expect(p999).toBeLessThanOrEqual(max * 1.01)
    }
    expect(memory.programs).toBeGreaterThan(0)
    expect(memory.weightBytes).toBeGreaterThan(0)
    expect(memory.arenaBytes).toBeGreaterThan(0)
    await model.dispose()
  })

  test('a call that was aborted before it came counts too', async () => {
    const model = await create()
    await expect(model.forward(x(1), { signal: AbortSignal.abort('no') })).rejects.toBe('no')
    expect(model.stats().calls).toEqual({ completed: 0, failed: 0, aborted: 1, refused: 0 })
    await model.dispose()
  })

  test('images a second are those of the last seconds', async () => {
    const model = await create()
    const begun = performance.now()
    await Promise.all(Array.from({ length: 50 }, () => model.forward(x(2))))
    const { imagesPerSecond } = model.stats()
    const seconds = (performance.now() - begun) / 1000
    expect(imagesPerSecond).toBeGreaterThan(0)
    expect(imagesPerSecond).toBeLessThanOrEqual((100 / seconds) * 1.5)
    await model.dispose()
  })
})

test('tracing channels: every call, and the batches that calls share', async () => {
  const model = await create()
  await model.warmup({ height: 8, width: 8, batches: [1, 4], method: 'forward' })
  const events: string[] = []
  const calls = {
    start: (message: unknown) => {
      const { method, images, queueDepth } = message as CallTrace
      events.push(`${method} ${images} begins behind ${queueDepth}`)
    },
    asyncStart: (message: unknown) => events.push(`${(message as CallTrace).method} is over`),
    error: (message: unknown) =>
      events.push(`error ${(message as { error: Error & { code: string } }).error.code}`),
    end: () => {},
    asyncEnd: () => {},
  }
  const batches = {
    ...calls,
    start: (message: unknown) => {
      const { images, calls: sharing, height, width, device } = message as BatchTrace
      events.push(`batch of ${images} for ${sharing} ${height}x${width} on ${device}`)
    },
    asyncStart: () => events.push('batch is over'),
  }
  tracingChannel('resnet:call').subscribe(calls)
  tracingChannel('resnet:batch').subscribe(batches)
  try {
    await Promise.all([model.forward(x(1)), model.forward(x(2))])
    await refusal(() => model.forward(Tensor.from(new Float32Array(6), [2, 3])))
  } finally {
    tracingChannel('resnet:call').unsubscribe(calls)
    tracingChannel('resnet:batch').unsubscribe(batches)
  }
  expect(events).toEqual([
    'forward 1 begins behind 0',
    'forward 2 begins behind 1',
    'batch of 3 for 2 8x8 on cpu',
    'batch is over',
    'forward is over',
    'forward is over',
    'forward 2 begins behind 0',
    'error ERR_RESNET_INVALID_ARGUMENT',
    'forward is over',
  ])
  await model.dispose()
})

describe('Prometheus metrics', () => {
  test('of two models in one register', async () => {
    const register = new Registry()
    const [first, second] = await Promise.all([create(), create({ maxQueue: 2 })])
    const stops = [
      publishMetrics(first, { register, model: 'first' }),
      publishMetrics(second, { register, model: 'second' }),
    ]
    await Promise.all([first.forward(x(3)), first.classify([picture, picture])])
    await refusal(() => second.forward(x(3)))
    const text = await register.metrics()
    for (const line of [
      'resnet_images_total{model="first"} 5',
      'resnet_calls_total{model="first",outcome="completed"} 2',
      'resnet_calls_total{model="second",outcome="refused"} 1',
      'resnet_queue_depth{model="first"} 0',
      'resnet_queue_depth{model="second"} 0',
      'resnet_batch_images_sum{model="first"} 5',
      'resnet_queue_seconds_count{model="first"} 5',
      'resnet_decode_seconds_count{model="first"} 2',
      'resnet_call_seconds_count{model="first"} 2',
    ]) {
      expect(text.split('\n')).toContain(line)
    }
    expect(text).toMatch(/resnet_memory_bytes\{model="first",kind="arenas"\} [1-9]/)
    expect(text).toMatch(/resnet_images_per_second\{model="first"\} [0-9.]+/)

    stops[0]?.()
    await first.forward(x(3))
    const after = await register.metrics()
    expect(after).toContain('resnet_images_total{model="first"} 5')
    expect(after).not.toContain('resnet_queue_depth{model="first"}')
    expect(after).toContain('resnet_queue_depth{model="second"}')
    stops[1]?.()
    await Promise.all([first.dispose(), second.dispose()])
  })
})
