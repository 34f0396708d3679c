// Models loaded, run and disposed of, again and again: the process and the device must end with what they had after the first few.
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { seenBetween } from './monitor.mjs'
import { checkNothingAlive, openModel } from './ours.mjs'
import { dry, report, scratch } from './step.mjs'

const require = createRequire(import.meta.url)
const { Tensor } = require('../../dist/index.js')

const size = dry ? 32 : 224
const cycles = dry ? 3 : 14
const settled = dry ? 1 : 6
const most = { process: 24, device: 8 }

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc')

const x = Tensor.from(new Uint8Array(2 * size ** 2 * 3).fill(90), [2, 3, size, size], { layout: 'nhwc' })
async function cycle() {
  const model = await openModel('resnet18', 'float16', { maxBatch: 2, autotune: 'off' })
  const device = await x.to('cuda')
  await Promise.all([model.forward(x), model.forward(device), model.embed(x)])
  device.dispose()
  await model.dispose()
}

async function memory() {
  for (let i = 0; i < 3; ++i) {
    collect()
    await sleep(20)
  }
  const from = Date.now()
  if (!dry) await sleep(250)
  const device = seenBetween(scratch, from).at(-1)?.usedMiB
  return { process: process.memoryUsage.rss() / 2 ** 20, device }
}

let before
for (let i = 0; i < cycles; ++i) {
  await cycle()
  if (i === settled - 1) before = await memory()
}
const after = await memory()
const text = `${cycles - settled} cycles of load, run and dispose`
report('figure', {
  name: `${text}: growth of the process`,
  value: after.process - before.process,
  unit: 'MiB',
  most: most.process,
})
if (before.device !== undefined && after.device !== undefined) {
  const value = after.device - before.device
  report('figure', { name: `${text}: growth on the device`, value, unit: 'MiB', most: most.device })
}
await checkNothingAlive('nothing is left alive behind disposed models')
