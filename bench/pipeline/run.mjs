// npm run bench:pipeline [-- --rounds 4 --seconds 4 --threads 2 --only resnet50 --output <file>]
//
// Images a second from JPEG bytes to labels: this package beside sharp + onnxruntime-node in worker threads, on the same
// photographs and weights, both decoding at full size; and beside the bound that decoding alone and the network alone,
// each on all cores, set to both one after the other. Each side first tries its settings for a round and keeps the best;
// then the rounds interleave, every one in a fresh process. Ends with 1 when the event loop of ours was held up.
//
// A file that holds results of the same machine keeps its other networks, so that they may be measured one at a time.
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { ensureBuilt } from '../../scripts/setup.mjs'
import { installPeers } from '../peers.mjs'
import { resultFile } from '../result-file.mjs'
import { bounds, networks, packages } from '../trials.mjs'
import { pictures } from './pictures.mjs'

const execute = promisify(execFile)
const here = path.dirname(fileURLToPath(import.meta.url))
const cache = path.join(here, '..', '..', '.cache', 'bench')
const peers = path.join(cache, 'peers')
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '4' },
    seconds: { type: 'string', default: '4' },
    threads: { type: 'string', default: '2' },
    only: { type: 'string', default: '' },
    output: { type: 'string' },
  },
})
const seconds = Number(values.seconds)
const threads = Number(values.threads)

ensureBuilt()
const runtime = packages['onnxruntime-node']
installPeers(peers, [runtime])
const require = createRequire(import.meta.url)
const { describeMachine } = require('../../dist/bench/machine.js')
const { median, ratioOfMedians } = require('../../dist/bench/statistics.js')
const { readResults, writeWhole } = require('../../dist/bench/results.js')
const { resultFormat, resultVersion } = require('../../dist/bench/types.js')
const { models, ResNet } = require('../../dist/index.js')
const { prepareNetwork } = await import('../prepare.mjs')
const { exportOnnx } = await import('../../scripts/export-onnx.mjs')
const ours = require('../../package.json')

const imagenet = {
  resize: 256,
  crop: 224,
  mean: [0.485, 0.456, 0.406],
  std: [0.229, 0.224, 0.225],
  channels: 3,
}

function files(name) {
  if (name !== 'digits') return { ...prepareNetwork(cache, name, networks[name]), preset: imagenet }
  const { preset, architecture } = digits
  const onnx = path.join(cache, 'digits.onnx')
  mkdirSync(cache, { recursive: true })
  const size = { height: preset.crop, width: preset.crop }
  exportOnnx({ checkpoint: models.digits, output: onnx, architecture, ...size })
  return { checkpoint: models.digits, onnx, preset }
}

async function describeDigits() {
  const model = await ResNet.load(models.digits)
  const { resize, crop, mean, std } = model.preprocessing
  await model.dispose()
  const one = (size) => (typeof size === 'number' ? size : size[0])
  const preset = { resize: one(resize ?? crop), crop: one(crop ?? resize), mean, std }
  return { preset: { ...preset, channels: model.architecture.inChannels }, architecture: model.architecture }
}

const digits = await describeDigits()
const buffers = await pictures(path.join(cache, 'pictures'), 64)

/** The two that are compared, and what each may be set to; the first of the list is the default. */
const peer = 'sharp + onnxruntime-node'
const sides = {
  resnet: {
    version: ours.version,
    script: 'ours.mjs',
    way: 'stream',
    settings: [{ maxBatch: 8 }, { maxBatch: 8, lanes: 'latency' }, { maxBatch: 8, lanes: 'throughput' }],
  },
  [peer]: {
    version: `sharp ${ours.dependencies.sharp}, onnxruntime-node ${runtime.version}`,
    script: 'peer.mjs',
    settings: [
      { workers: threads, batch: 1, sessionThreads: 1, sharpThreads: 1 },
      { workers: threads, batch: 4, sessionThreads: 1, sharpThreads: 1 },
      { workers: 1, batch: 8, sessionThreads: threads, sharpThreads: 1 },
      { workers: threads, batch: 8, sessionThreads: 1, sharpThreads: 1 },
    ],
  },
}
/** The same package with the settings that were chosen, by other ways: see ours.mjs. */
const others = {
  'resnet, 64 callers': { ...sides.resnet, way: 'callers' },
  'resnet, decoding alone': { ...sides.resnet, way: 'decode' },
  'resnet, network alone': { ...sides.resnet, way: 'network' },
}

async function once({ script, way }, settings, network) {
  const call = { ...network, way, peers, buffers, seconds, threads, settings }
  const { stdout } = await execute(process.execPath, [path.join(here, script), JSON.stringify(call)], {
    maxBuffer: 2 ** 24,
  })
  return JSON.parse(stdout.trim().split('\n').at(-1))
}

async function bestSettings(side, network) {
  const tried = []
  for (const settings of sides[side].settings) {
    const { imagesPerSecond } = (await once(sides[side], settings, network)).measured
    tried.push({ settings, imagesPerSecond })
    console.log(`  ${side}: ${JSON.stringify(settings)} ${imagesPerSecond.toFixed(1)} images/s`)
  }
  const best = tried.reduce((a, b) => (b.imagesPerSecond > a.imagesPerSecond ? b : a)).settings
  return { ...best, tried }
}

async function measure(name) {
  console.log(`\n${name}`)
  const { preset, ...network } = files(name)
  const settings = {}
  for (const side of Object.keys(sides)) settings[side] = await bestSettings(side, { ...network, preset })
  for (const other of Object.keys(others)) settings[other] = settings.resnet
  const all = Object.entries({ ...sides, ...others })
  const rounds = Object.fromEntries(all.map(([driver]) => [driver, []]))
  const labels = {}
  for (let round = 0; round < Number(values.rounds); ++round) {
    for (const [driver, side] of round % 2 === 0 ? all : [...all].reverse()) {
      const { tried: _, ...chosen } = settings[driver]
      const { measured, first } = await once(side, chosen, { ...network, preset })
      rounds[driver].push(measured)
      labels[driver] ??= first
    }
  }
  const drivers = all.map(([driver, { version }]) => {
    const told = Object.hasOwn(sides, driver) ? settings[driver] : { ...settings[driver], tried: undefined }
    return { driver, version, settings: told, rounds: rounds[driver] }
  })
  const row = {
    name: `${name} ${preset.crop}x${preset.crop} float32 cpu from JPEG 500x375 threads ${threads}`,
    network: {
      name,
      channels: preset.channels,
      height: preset.crop,
      width: preset.crop,
      checkpoint: path.basename(network.checkpoint),
      onnx: path.basename(network.onnx),
    },
    device: 'cpu',
    dtype: 'float32',
    batch: settings.resnet.maxBatch,
    threads,
    load: { kind: 'closed' },
    drivers,
    boundPerSecond: boundOf(rounds),
  }
  print(row, labels)
  return row
}

const rates = (rounds) => rounds.map(({ imagesPerSecond }) => imagesPerSecond)

/** An image costs every core the time of its decoding and that of its network. */
function boundOf(rounds) {
  const cost = (driver) => 1 / median(rates(rounds[driver]))
  return 1 / (cost('resnet, decoding alone') + cost('resnet, network alone'))
}

function print({ drivers, boundPerSecond }, labels) {
  const of = (name) => rates(drivers.find(({ driver }) => driver === name).rounds)
  for (const { driver, rounds } of drivers) {
    const list = rates(rounds)
    const delay = median(rounds.map(({ eventLoopP99Ms }) => eventLoopP99Ms))
    console.log(
      `  ${driver.padEnd(26)} ${median(list).toFixed(1)} images/s (${Math.min(...list).toFixed(1)} to ` +
        `${Math.max(...list).toFixed(1)}), event loop ${delay.toFixed(2)} ms`,
    )
  }
  const ratio = ratioOfMedians(of(peer), of('resnet'))
  const agree = labels.resnet.filter((index, i) => index === labels[peer][i]).length
  console.log(
    `  ours is ${ratio.ratio.toFixed(2)} x (${ratio.low.toFixed(2)} to ${ratio.high.toFixed(2)}) the peer and ` +
      `${(median(of('resnet')) / boundPerSecond).toFixed(2)} of the bound, ${boundPerSecond.toFixed(1)} images/s; the first ` +
      `labels agree in ${agree} of ${labels.resnet.length}`,
  )
}

const machine = describeMachine()
const rows = []
for (const name of ['digits', 'resnet18', 'resnet50'].filter((word) => word.includes(values.only))) {
  rows.push(await measure(name))
}
const date = new Date().toISOString()
const output = values.output ?? resultFile(date, machine, '-pipeline')
const before = existsSync(output) ? await readResults(output) : undefined
const kept = (before?.machine.cpu === machine.cpu ? before.trials : []).filter(
  ({ name }) => !rows.some((row) => row.name === name),
)
const results = {
  format: resultFormat,
  version: resultVersion,
  date,
  machine,
  rounds: Number(values.rounds),
  seconds,
  trials: [...kept, ...rows],
}
await writeWhole(output, `${JSON.stringify(results, null, 2)}\n`)
console.log(`\nWritten to ${path.relative(process.cwd(), output)}`)

const [{ most }] = bounds // of the event loop
const late = rows.flatMap(({ name, drivers }) =>
  drivers
    .filter(({ driver }) => driver !== peer)
    .map(({ driver, rounds }) => ({
      driver,
      delay: median(rounds.map(({ eventLoopP99Ms }) => eventLoopP99Ms)),
    }))
    .filter(({ delay }) => delay >= most)
    .map(
      ({ driver, delay }) =>
        `${name}, ${driver}: event loop delay ${delay.toFixed(1)} ms, below ${most} wanted`,
    ),
)
if (late.length > 0) {
  console.error(`\nMissed:\n  ${late.join('\n  ')}`)
  process.exit(1)
}
