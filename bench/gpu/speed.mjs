// One network in one dtype beside PyTorch: every batch, rounds of all drivers alternating in one stretch of time. Images and
// logits in the device's memory, and in the host's. Before a batch is timed its logits are compared with PyTorch's.
import { createRequire } from 'node:module'
import { DeviceNetwork, openModel, pixelsOf } from './ours.mjs'
import { startPeer } from './peer.mjs'
import { amount, dry, dtype, mode, network, report } from './step.mjs'

const require = createRequire(import.meta.url)
const { Tensor } = require('../../dist/index.js')
const { percentiles } = require('../../dist/bench/statistics.js')

const { batches, rounds } = amount
const size = dry ? 32 : 224
/** With and without CUDA graphs on either side, for the network that is looked at most closely. */
const withoutGraphs = network === 'resnet50' && dtype === 'float16' && mode !== 'quick'
/** Of one round; shorter where less hangs on it. */
const seconds = network === 'resnet50' && dtype === 'float16' ? amount.seconds : amount.seconds / 2
const latencyCalls = dry ? 3 : 100

/** Images a second through the package's API, host memory in and out, as many callers as keep two lanes busy. */
async function throughHost(model, x, seconds) {
  const callers = 4
  await Promise.all(Array.from({ length: callers }, () => model.forward(x)))
  let images = 0
  const begun = performance.now()
  const end = begun + seconds * 1000
  const caller = async () => {
    do {
      await model.forward(x)
      images += x.shape[0]
    } while (performance.now() < end)
  }
  await Promise.all(Array.from({ length: callers }, caller))
  return (images * 1000) / (performance.now() - begun)
}

async function latencies(model, x) {
  const times = []
  for (let i = 0; i < latencyCalls; ++i) {
    const begun = performance.now()
    await model.forward(x)
    times.push(performance.now() - begun)
  }
  return times
}

const pair = (times) => {
  const { p50, p99 } = percentiles(times)
  return { p50, p99 }
}

/** max|ours - PyTorch's| / max|PyTorch's| of logits in the same dtype: a wrong answer's speed is worth nothing. */
function differenceOf(ours, theirs) {
  const largest = theirs.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
  return ours.reduce((worst, value, i) => Math.max(worst, Math.abs(value - theirs[i])), 0) / largest
}
const bounds = { float16: 0.02, bfloat16: 0.15, tf32: 0.02, float32: 1e-3 }

const peer = startPeer()
const opening = peer.ask('open', { network, dtype, size })
const ours = await DeviceNetwork.open(network, { size, dtype })
const model = await openModel(network, dtype, { maxBatch: Math.max(...batches), lanes: 'throughput' })
report('note', { text: `${network} ${dtype}: ${JSON.stringify(await opening)}` })

for (const batch of batches) {
  const program = await ours.compile(batch)
  await program.prepare()
  const plain = withoutGraphs ? await ours.compile(batch, { graphs: false }) : undefined
  await plain?.prepare()
  await peer.ask('prepare', { batch, graph: withoutGraphs })

  const difference = differenceOf(await program.logits(), (await peer.ask('logits')).logits)
  const bound = bounds[dtype]
  const label = `${network} ${dtype} batch ${batch}, as timed`
  report('accuracy', { suite: 'networks', case: label, error: difference, bound, good: difference <= bound })

  const bytes = pixelsOf(batch, size)
  const x = Tensor.from(bytes, [batch, 3, size, size], { layout: 'nhwc' })
  // A model's lanes take at most `maxBatch` images together: callers' batches must not be joined while one size is timed.
  const host =
    batch === Math.max(...batches)
      ? model
      : await openModel(network, dtype, { maxBatch: batch, lanes: 'throughput' })

  const measured = (driver, memory, run) => ({ driver, memory, run, rounds: [] })
  const entries = [
    measured('resnet', 'device', () => program.throughput(seconds)),
    measured('resnet', 'host', () => throughHost(host, x, seconds)),
    ...['device', 'host'].map((memory) =>
      measured('pytorch eager', memory, async () => {
        const answer = await peer.ask('measure', { driver: 'pytorch eager', memory, seconds })
        return answer.imagesPerSecond
      }),
    ),
    ...(plain === undefined
      ? []
      : [
          measured('resnet without graphs', 'device', () => plain.throughput(seconds)),
          measured('pytorch eager in a CUDA graph', 'device', async () => {
            const driver = 'pytorch eager in a CUDA graph'
            return (await peer.ask('measure', { driver, memory: 'device', seconds })).imagesPerSecond
          }),
        ]),
  ]
  for (let round = 0; round < rounds; ++round) {
    for (const entry of round % 2 === 0 ? entries : [...entries].reverse())
      entry.rounds.push(await entry.run())
  }
  const lone = batch === 1 ? { resnet: pair(await latencies(host, x)) } : {}
  if (batch === 1) {
    const { milliseconds } = await peer.ask('latency', { calls: latencyCalls })
    lone['pytorch eager'] = pair(milliseconds)
  }
  for (const { driver, memory, rounds: list } of entries) {
    const latencyMs = memory === 'host' ? lone[driver] : undefined
    report('speed', {
      network,
      dtype,
      batch,
      driver,
      memory,
      rounds: list,
      ...(latencyMs ? { latencyMs } : {}),
    })
  }
  await program.close()
  await plain?.close()
  if (host !== model) await host.dispose()
}
await model.dispose()
await ours.close()
await peer.end()
