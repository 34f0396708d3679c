// npm run bench:pipeline [-- --rounds 4 --seconds 4 --threads 2 --only resnet50 --output <file>]
//
// Images a second from JPEG bytes to labels: this package beside sharp + onnxruntime-node in worker threads, on the same
// photographs and weights, both decoding at full size. Each side first tries its settings for a round and keeps the best;
// then the rounds interleave, every one in a fresh process.
import { execFile } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { ensureBuilt } from '../../scripts/setup.mjs'
import { installPeers } from '../peers.mjs'
import { resultFile } from '../result-file.mjs'
import { drivers, networks } from '../trials.mjs'
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
installPeers(peers, [drivers[1].package])
const require = createRequire(import.meta.url)
const { describeMachine } = require('../../dist/bench/machine.js')
const { median, ratioOfMedians } = require('../../dist/bench/statistics.js')
const { writeWhole } = require('../../dist/bench/results.js')
const { models } = require('../../dist/index.js')
const { prepareNetwork } = await import('../prepare.mjs')
const { exportOnnx } = await import('../../scripts/export-onnx.mjs')

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
  const { ResNet } = require('../../dist/index.js')
  const model = await ResNet.load(models.digits)
  const { resize, crop, mean, std } = model.preprocessing
  await model.dispose()
  const one = (size) => (typeof size === 'number' ? size : size[0])
  const preset = { resize: one(resize ?? crop), crop: one(crop ?? resize), mean, std }
  return { preset: { ...preset, channels: model.architecture.inChannels }, architecture: model.architecture }
}

const digits = await describeDigits()
const buffers = await pictures(path.join(cache, 'pictures'), 64)

/** What each side may be set to; the first of the list is the default. */
const sides = {
  resnet: {
    script: 'ours.mjs',
    settings: [
      { maxBatch: 8, lanes: 'latency' },
      { maxBatch: 8, lanes: 'throughput' },
    ],
  },
  'sharp + onnxruntime-node': {
    script: 'peer.mjs',
    settings: [
      { workers: threads, batch: 1, sessionThreads: 1, sharpThreads: 1 },
      { workers: threads, batch: 4, sessionThreads: 1, sharpThreads: 1 },
      { workers: 1, batch: 8, sessionThreads: threads, sharpThreads: 1 },
      { workers: threads, batch: 8, sessionThreads: 1, sharpThreads: 1 },
    ],
  },
}

async function once(side, settings, network) {
  const call = { ...network, peers, buffers, seconds, threads, settings }
  const script = path.join(here, sides[side].script)
  const { stdout } = await execute(process.execPath, [script, JSON.stringify(call)], { maxBuffer: 2 ** 24 })
  return JSON.parse(stdout.trim().split('\n').at(-1))
}

async function bestSettings(side, network) {
  const tried = []
  for (const settings of sides[side].settings) {
    const { imagesPerSecond } = await once(side, settings, network)
    tried.push({ settings, imagesPerSecond })
    console.log(`  ${side}: ${JSON.stringify(settings)} ${imagesPerSecond.toFixed(1)} images/s`)
  }
  return { tried, best: tried.reduce((a, b) => (b.imagesPerSecond > a.imagesPerSecond ? b : a)).settings }
}

const rows = []
const machine = describeMachine()
for (const name of ['digits', 'resnet18', 'resnet50'].filter((word) => word.includes(values.only))) {
  console.log(`\n${name}`)
  const network = files(name)
  const names = Object.keys(sides)
  const chosen = {}
  for (const side of names) chosen[side] = await bestSettings(side, network)
  const rounds = Object.fromEntries(names.map((side) => [side, []]))
  for (let round = 0; round < Number(values.rounds); ++round) {
    for (const side of round % 2 === 0 ? names : [...names].reverse()) {
      rounds[side].push(await once(side, chosen[side].best, network))
    }
  }
  const rates = (side) => rounds[side].map(({ imagesPerSecond }) => imagesPerSecond)
  const [ours, theirs] = names
  const ratio = ratioOfMedians(rates(theirs), rates(ours))
  const agree = rounds[ours][0].first.filter((index, i) => index === rounds[theirs][0].first[i]).length
  for (const side of names) {
    const list = rates(side)
    console.log(
      `  ${side.padEnd(26)} ${median(list).toFixed(1)} images/s (${Math.min(...list).toFixed(1)} to ` +
        `${Math.max(...list).toFixed(1)})`,
    )
  }
  console.log(
    `  ours is ${ratio.ratio.toFixed(2)} x (${ratio.low.toFixed(2)} to ${ratio.high.toFixed(2)}); the first labels agree in ` +
      `${agree} of ${rounds[ours][0].first.length}`,
  )
  rows.push({ name, threads, chosen, rounds, ratio, agree })
}
const date = new Date().toISOString()
const output = values.output ?? resultFile(date, machine, '-pipeline')
await writeWhole(output, `${JSON.stringify({ date, machine, seconds, rows }, null, 2)}\n`)
console.log(`\nWritten to ${path.relative(process.cwd(), output)}`)
