import { Counter, register as defaultRegister, Gauge, Histogram, type Registry } from 'prom-client'
import type { Outcome } from './batching/recorder.js'
import type { ResNet } from './resnet.js'

export interface MetricsOptions {
  /** Where they are registered. Default: prom-client's own register. */
  register?: Registry
  /** Value of the label 'model', which tells several models apart. Default 'default'. */
  model?: string
}

const seconds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
const images = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
const labelNames = ['model'] as const

interface Metrics {
  queueDepth: Gauge<'model'>
  imagesPerSecond: Gauge<'model'>
  busyLanes: Gauge<'model'>
  memory: Gauge<'model' | 'kind'>
  calls: Counter<'model' | 'outcome'>
  images: Counter<'model'>
  batchImages: Histogram<'model'>
  queue: Histogram<'model'>
  decode: Histogram<'model'>
  compute: Histogram<'model'>
  call: Histogram<'model'>
}

/**
 * Publishes a model's statistics as Prometheus metrics: resnet_queue_depth, resnet_busy_lanes, resnet_images_per_second,
 * resnet_memory_bytes{kind}, resnet_images_total, resnet_calls_total{outcome}, and the histograms resnet_batch_images,
 * resnet_queue_seconds, resnet_decode_seconds, resnet_compute_seconds and resnet_call_seconds.
 * @param model Several may share a register under different names.
 * @returns Stops publishing; call it before the model is disposed of.
 * @example
 * const stop = publishMetrics(model, { model: 'resnet50' })
 * const answer = await register.metrics() // prom-client's register: what GET /metrics sends
 * stop()
 */
export function publishMetrics(model: ResNet, options: MetricsOptions = {}): () => void {
  const { register = defaultRegister, model: name = 'default' } = options
  const metrics = metricsOf(register)
  const labels = { model: name }
  const readers = readersOf(register)
  const read = () => {
    const { queueDepth, imagesPerSecond, busyLanes, memory } = model.stats()
    metrics.queueDepth.set(labels, queueDepth)
    metrics.imagesPerSecond.set(labels, imagesPerSecond)
    metrics.busyLanes.set(labels, busyLanes)
    metrics.memory.set({ ...labels, kind: 'weights' }, memory.weightBytes)
    metrics.memory.set({ ...labels, kind: 'arenas' }, memory.arenaBytes)
  }
  readers.add(read)
  const stopObserving = model.observe({
    queued: (milliseconds, count) => {
      for (let i = 0; i < count; ++i) metrics.queue.observe(labels, milliseconds / 1000)
    },
    decoded: (milliseconds) => metrics.decode.observe(labels, milliseconds / 1000),
    computed: (milliseconds, count) => {
      metrics.compute.observe(labels, milliseconds / 1000)
      metrics.batchImages.observe(labels, count)
      metrics.images.inc(labels, count)
    },
    ended: (outcome: Outcome, milliseconds) => {
      metrics.calls.inc({ ...labels, outcome })
      if (outcome === 'completed') metrics.call.observe(labels, milliseconds / 1000)
    },
  })
  return () => {
    stopObserving()
    readers.delete(read)
    for (const metric of [metrics.queueDepth, metrics.imagesPerSecond, metrics.busyLanes])
      metric.remove(labels)
    for (const kind of ['weights', 'arenas']) metrics.memory.remove({ ...labels, kind })
  }
}

/** What reads the gauges of a register's models before they are scraped. */
const readers = new WeakMap<Registry, Set<() => void>>()

function readersOf(register: Registry): Set<() => void> {
  const known = readers.get(register) ?? new Set()
  readers.set(register, known)
  return known
}

/** The metrics of a register, made for its first model. */
function metricsOf(register: Registry): Metrics {
  const registers = [register]
  const existing = <T>(name: string, make: (name: string) => T): T =>
    (register.getSingleMetric(name) as T | undefined) ?? make(name)
  const gauge = (name: string, help: string) =>
    existing(name, () => new Gauge({ name, help, labelNames, registers }))
  const histogram = (name: string, help: string, buckets: number[]) =>
    existing(name, () => new Histogram({ name, help, labelNames, buckets, registers }))
  return {
    queueDepth: existing('resnet_queue_depth', (name) => {
      const all = readersOf(register)
      const collect = () => {
        for (const read of all) read()
      }
      // prom-client collects in the order of registration: this one, the first, reads for all gauges.
      return new Gauge({ name, help: 'Images that wait', labelNames, registers, collect })
    }),
    imagesPerSecond: gauge('resnet_images_per_second', 'Images run, over the last ten seconds'),
    busyLanes: gauge('resnet_busy_lanes', 'Lanes with a batch on them'),
    memory: existing(
      'resnet_memory_bytes',
      (name) =>
        new Gauge({ name, help: 'Native memory', labelNames: [...labelNames, 'kind'] as const, registers }),
    ),
    calls: existing(
      'resnet_calls_total',
      (name) =>
        new Counter({
          name,
          help: 'Calls by how they ended',
          labelNames: [...labelNames, 'outcome'] as const,
          registers,
        }),
    ),
    images: existing(
      'resnet_images_total',
      (name) => new Counter({ name, help: 'Images run', labelNames, registers }),
    ),
    batchImages: histogram('resnet_batch_images', 'Images of a batch', images),
    queue: histogram('resnet_queue_seconds', "An image's waiting, without its decoding", seconds),
    decode: histogram('resnet_decode_seconds', 'Reading, decoding and resizing an image', seconds),
    compute: histogram('resnet_compute_seconds', 'The run of a batch', seconds),
    call: histogram('resnet_call_seconds', 'From a call to its result', seconds),
  }
}
