// What becomes of a model that is asked for more than it can do?
//   node bench/overload.mjs [--model digits] [--seconds 60] [--times 3] [--queue 32] [--slack 2] [--keep]
// Calls arrive in an open loop at `times` its capacity, whether or not earlier ones have answered. Prints JSON; ends with 1
// when a bound is broken: those who are accepted wait no longer than the queue ahead of them takes (99th percentile,
// `slack` times that for what else the machine does), the rest is refused at once, nothing is lost, what is done stays near
// the capacity, and within a second afterwards a lone call is as quick as before. --keep puts it into bench/results/.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { models, ResNet, Tensor } from 'resnet'
import { median, percentiles } from '../dist/bench/statistics.js'
import { keepReport } from './result-file.mjs'

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'digits' },
    seconds: { type: 'string', default: '60' },
    times: { type: 'string', default: '3' },
    queue: { type: 'string', default: '32' },
    slack: { type: 'string', default: '2' },
    keep: { type: 'boolean', default: false },
  },
})
const [seconds, times, maxQueue, slack] = ['seconds', 'times', 'queue', 'slack'].map((name) =>
  Number(values[name]),
)
const maxBatch = 8
const refusalMs = 10 * slack
const recoveryMs = 1000
const leastGoodput = 0.7

const digits = values.model === 'digits'
const [size, channels] = digits ? [28, 1] : [224, 3]
const options = { maxQueue, maxBatch }
const model = await (digits
  ? ResNet.load(models.digits, options)
  : ResNet.create(values.model, { numClasses: 1000, ...options }))
const x = Tensor.from(new Float32Array(channels * size * size).fill(0.5), [1, channels, size, size])
await model.warmup({ height: size, width: size, batches: [1, 2, 4, 8], method: 'forward' })

/** Images a second of as many callers as the queue has places. */
async function capacity() {
  const begun = performance.now()
  const end = begun + Math.max(500, Math.min(5000, 100 * seconds))
  let done = 0
  const caller = async () => {
    while (performance.now() < end) {
      await model.forward(x)
      done += 1
    }
  }
  await Promise.all(Array.from({ length: maxQueue }, caller))
  return (done * 1000) / (performance.now() - begun)
}

/** Milliseconds of lone calls, half a second of them. */
async function lone() {
  const times = []
  for (const end = performance.now() + 500; performance.now() < end; ) {
    const begun = performance.now()
    await model.forward(x)
    times.push(performance.now() - begun)
  }
  return median(times)
}

const accepted = []
const refused = []
const failures = []
async function send() {
  const begun = performance.now()
  try {
    const { shape } = await model.forward(x)
    if (shape[0] !== 1) throw new Error(`a result of shape [${shape}]`)
    accepted.push(performance.now() - begun)
  } catch (error) {
    if (error.code === 'ERR_RESNET_QUEUE_FULL') refused.push(performance.now() - begun)
    else failures.push(String(error))
  }
}

const loneMs = await lone()
const perSecond = await capacity()
const delay = monitorEventLoopDelay({ resolution: 1 })
delay.enable()
let sent = 0
const running = new Set()
const begun = performance.now()
for (let now = begun; now - begun < seconds * 1000; now = performance.now()) {
  for (const due = ((now - begun) / 1000) * times * perSecond; sent < due; ++sent) {
    const call = send().finally(() => running.delete(call))
    running.add(call)
  }
  await pause(1)
}
const elapsed = (performance.now() - begun) / 1000
delay.disable()
const last = performance.now()
await Promise.all(running)
const drainedMs = performance.now() - last
const loneAfterMs = await lone()
const { queueDepth, busyLanes } = model.stats()
await model.dispose()

const waits = percentiles(accepted)
const refusals = percentiles(refused)
const waitMs = slack * ((1000 * (maxQueue + 2 * maxBatch)) / perSecond + 5)
const bounds = [
  [failures.length === 0, `${failures.length} calls failed: ${failures[0]}`],
  [accepted.length + refused.length + failures.length === sent, 'calls were lost'],
  [refused.length > (sent * (times - 1)) / (2 * times), `only ${refused.length} of ${sent} were refused`],
  [waits.p99 < waitMs, `the accepted waited ${waits.p99.toFixed(1)} ms (p99), at most ${waitMs.toFixed(1)}`],
  [refusals.p99 < refusalMs, `refusals took ${refusals.p99.toFixed(1)} ms (p99), at most ${refusalMs}`],
  [
    accepted.length / elapsed > (leastGoodput / (slack / 2)) * perSecond,
    `${(accepted.length / elapsed).toFixed(0)} of ${perSecond.toFixed(0)} images a second were done`,
  ],
  [drainedMs < recoveryMs, `the queue took ${drainedMs.toFixed(0)} ms to empty, at most ${recoveryMs}`],
  [
    loneAfterMs < 2 * slack * loneMs,
    `a lone call took ${loneAfterMs.toFixed(2)} ms, ${loneMs.toFixed(2)} before`,
  ],
  [queueDepth === 0 && busyLanes === 0, `${queueDepth} images wait for ever, ${busyLanes} lanes are busy`],
]
const broken = bounds.filter(([kept]) => !kept).map(([, what]) => what)
const report = {
  model: values.model,
  seconds: elapsed,
  capacityPerSecond: perSecond,
  offeredPerSecond: sent / elapsed,
  donePerSecond: accepted.length / elapsed,
  sent,
  accepted: { calls: accepted.length, latencyMs: waits, boundMs: waitMs },
  refused: { calls: refused.length, latencyMs: refusals },
  failed: failures.length,
  eventLoopP99Ms: Math.max(0, delay.percentile(99) / 1e6 - 1),
  drainedMs,
  loneMs: { before: loneMs, after: loneAfterMs },
  broken,
}
console.log(JSON.stringify(report, null, 2))
if (values.keep) await keepReport(`overload ${values.model}`, report)
process.exitCode = broken.length > 0 ? 1 : 0
