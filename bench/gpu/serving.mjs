// ResNet-50 in float16 as a server has it: a lone image on the device and at its promise, the event loop at full load, pixels
// from the host beside pixels that are on the device, two tracks.
import { createRequire } from 'node:module'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { DeviceNetwork, openModel, pixelsOf } from './ours.mjs'
import { amount, dry, report } from './step.mjs'

const require = createRequire(import.meta.url)
const { Tensor } = require('../../dist/index.js')
const { percentiles, median } = require('../../dist/bench/statistics.js')

const network = dry ? 'resnet18' : 'resnet50'
const size = dry ? 32 : 224
const large = dry ? 2 : 256
const calls = dry ? 3 : 300
const seconds = dry ? 0.05 : 1
const dtype = 'float16'

const figure = (name, value, unit, most) =>
  report('figure', { name, value, unit, ...(most === undefined ? {} : { most }) })
const pixels = (images) => Tensor.from(pixelsOf(images, size), [images, 3, size, size], { layout: 'nhwc' })

async function lone() {
  const model = await openModel(network, dtype, { maxBatch: 1 })
  const host = pixels(1)
  const device = await host.to('cuda')
  for (const [where, x, output] of [
    ['host', host, 'host'],
    ['device', device, 'device'],
  ]) {
    const times = []
    for (let i = 0; i < calls + 20; ++i) {
      const begun = performance.now()
      const y = await model.forward(x, { output })
      if (i >= 20 || dry) times.push(performance.now() - begun)
      y.dispose()
    }
    const { p50, p99 } = percentiles(times)
    figure(`batch 1 at the promise, ${where} memory, p50`, p50, 'ms')
    figure(`batch 1 at the promise, ${where} memory, p99`, p99, 'ms')
  }
  device.dispose()
  await model.dispose()
}

async function onDevice(ours) {
  const program = await ours.compile(1)
  await program.prepare()
  const rates = []
  for (let i = 0; i < amount.rounds; ++i) rates.push(await program.throughput(amount.seconds))
  figure('batch 1 on the device', 1000 / median(rates), 'ms')
  await program.close()
}

/** As many single images as two full batches: every batch is full while they last. */
async function fullLoad() {
  const maxBatch = dry ? 2 : 64
  const model = await openModel(network, dtype, { maxBatch, lanes: 'throughput' })
  const x = pixels(1)
  let images = 0
  const run = async (duration) => {
    const end = performance.now() + duration * 1000
    const caller = async () => {
      while (performance.now() < end) {
        await model.forward(x)
        ++images
      }
    }
    await Promise.all(Array.from({ length: 4 * maxBatch }, caller))
  }
  await run(dry ? 0.05 : 0.5)
  images = 0
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  const begun = performance.now()
  await run(dry ? 0.1 : 3)
  const taken = (performance.now() - begun) / 1000
  delay.disable()
  const late = Math.max(0, delay.percentile(99) / 1e6 - 1)
  figure('event loop at full load, p99 less the interval', late, 'ms', dry ? undefined : 5)
  figure('single images joined, at full load', images / taken, 'images/s')
  await model.dispose()
}

async function overlapped() {
  const model = await openModel(network, dtype, { maxBatch: large, lanes: 'throughput' })
  const host = pixels(large)
  const device = await host.to('cuda')
  const rates = { host: [], device: [] }
  const run = async (x, output) => {
    let images = 0
    const begun = performance.now()
    const end = begun + seconds * 1000
    const caller = async () => {
      do {
        const y = await model.forward(x, { output })
        y.dispose()
        images += large
      } while (performance.now() < end)
    }
    await Promise.all(Array.from({ length: 4 }, caller))
    return (images * 1000) / (performance.now() - begun)
  }
  await run(host, 'host')
  for (let round = 0; round < amount.rounds; ++round) {
    rates.host.push(await run(host, 'host'))
    rates.device.push(await run(device, 'device'))
  }
  figure(`uint8 from the host, overlapped, batch ${large}`, median(rates.host), 'images/s')
  figure(`uint8 on the device, batch ${large}`, median(rates.device), 'images/s')
  figure('overlapped over device-resident', median(rates.host) / median(rates.device), 'ratio')
  device.dispose()
  await model.dispose()
}

/** One lane with the whole batch against two lanes with half of it each, both always busy. */
async function tracks(ours) {
  const [whole, ...halves] = await Promise.all(
    [large, large / 2, large / 2].map((batch) => ours.compile(batch)),
  )
  for (const program of [whole, ...halves]) await program.prepare()
  const rates = { one: [], two: [] }
  for (let round = 0; round < amount.rounds; ++round) {
    rates.one.push(await whole.throughput(seconds))
    const both = await Promise.all(halves.map((program) => program.throughput(seconds)))
    rates.two.push(both[0] + both[1])
  }
  figure(`one track of ${large}`, median(rates.one), 'images/s')
  figure(`two tracks of ${large / 2}`, median(rates.two), 'images/s')
  for (const program of [whole, ...halves]) await program.close()
}

const ours = await DeviceNetwork.open(network, { size, dtype })
await onDevice(ours)
await lone()
await fullLoad()
await overlapped()
await tracks(ours)
await ours.close()
