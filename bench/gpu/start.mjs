// From starting a process to its first result: a checkpoint of ResNet-50 on disk, engines raced anew and engines kept by an
// earlier process. Each start is a process of its own; --role is what such a process does.
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, renameSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { formula, formulaTensors, rule } from '../../scripts/formula.cjs'
import { writeSafetensors } from '../../scripts/safetensors.mjs'
import { planOf } from './ours.mjs'
import { dry, mode, report, role, scratch } from './step.mjs'

const require = createRequire(import.meta.url)
const execute = promisify(execFile)
const name = dry ? 'resnet18' : 'resnet50'
const size = dry ? 32 : 224
const checkpoint = path.join(scratch, `${name}.safetensors`)
const engineCache = path.join(scratch, 'engines')

async function start() {
  const { ResNet, Tensor } = require('../../dist/index.js')
  const begun = performance.now()
  const options = { device: 'cuda', maxBatch: 1, engineCache, autotune: dry ? 'off' : 'quick' }
  const model = await ResNet.load(checkpoint, options)
  const loaded = performance.now()
  const x = Tensor.from(new Uint8Array(size ** 2 * 3).fill(100), [1, 3, size, size], { layout: 'nhwc' })
  const { data } = await model.forward(x)
  const done = performance.now()
  await model.dispose()
  console.log(
    JSON.stringify({ loadMs: loaded - begun, firstMs: done - loaded, finite: data.every(Number.isFinite) }),
  )
}

function writeCheckpoint() {
  if (existsSync(checkpoint)) return
  mkdirSync(scratch, { recursive: true })
  const { spec, plan } = planOf(name, { size, dtype: 'float32' })
  const tensors = formulaTensors(spec.block, plan.parameters).map(({ shape, ...range }) => {
    const count = shape.reduce((product, length) => product * length, 1)
    return { name: range.name, shape, data: () => formula({ seed: rule.seed, count, ...range }) }
  })
  writeSafetensors(`${checkpoint}.part`, tensors)
  renameSync(`${checkpoint}.part`, checkpoint)
}

async function startOnce() {
  const begun = performance.now()
  const args = [fileURLToPath(import.meta.url), '--role', 'start', '--mode', mode, '--scratch', scratch]
  const { stdout } = await execute(process.execPath, args)
  const wholeMs = performance.now() - begun
  return { wholeMs, ...JSON.parse(stdout.trim().split('\n').at(-1)) }
}

if (role === 'start') {
  await start()
} else {
  const { median } = require('../../dist/bench/statistics.js')
  writeCheckpoint()
  const first = await startOnce()
  const later = []
  for (let i = 0; i < (dry ? 1 : 5); ++i) later.push(await startOnce())
  const figure = (text, value) => report('figure', { name: `${name} float16, ${text}`, value, unit: 'ms' })
  figure('process to first result, no engines kept', first.wholeMs)
  figure('process to first result, engines kept', median(later.map(({ wholeMs }) => wholeMs)))
  figure('load() with engines kept', median(later.map(({ loadMs }) => loadMs)))
  figure('first call with engines kept', median(later.map(({ firstMs }) => firstMs)))
  const good = [first, ...later].every(({ finite }) => finite)
  report('check', {
    name: 'cold starts',
    good,
    detail: `${later.length + 1} processes, every logit a number`,
  })
}
