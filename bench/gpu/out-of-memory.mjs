// The device's memory runs out for real: all but a little of it is taken by tensors, then a network is asked for more than is left.
// Every refusal must be ERR_RESNET_OUT_OF_MEMORY, and what was there before must still answer.
import { createRequire } from 'node:module'
import { openModel } from './ours.mjs'
import { dry, report } from './step.mjs'

const require = createRequire(import.meta.url)
const { Tensor } = require('../../dist/index.js')
const { addon } = require('../../dist/native/call.js')
const { cudaDevice, leaseDevice } = require('../../dist/native/devices.js')

const outOfMemory = /OUT_OF_MEMORY/
const size = dry ? 32 : 224
const large = dry ? 64 : 256
/** A rehearsal's device has the host's memory: a cap stands for its end. */
const memoryLimit = dry ? 24 * 2 ** 20 : 0
const pieces = dry ? [2 ** 22, 2 ** 18, 2 ** 14] : [2 ** 33, 2 ** 30, 2 ** 26, 2 ** 22]
const pixels = (images) =>
  Tensor.from(new Uint8Array(images * size ** 2 * 3).fill(77), [images, 3, size, size], { layout: 'nhwc' })
const check = (name, good, detail) => report('check', { name: `out of memory: ${name}`, good, detail })

/** The error that a call ends in; undefined: none. */
const errorOf = (call) =>
  call.then(
    () => undefined,
    (error) => error,
  )
const described = (error) =>
  error === undefined ? 'no error' : `${error.code}: ${error.message}`.slice(0, 300)

const model = await openModel(dry ? 'resnet18' : 'resnet50', 'float16', {
  maxBatch: large,
  autotune: 'off',
  memoryLimit,
})
const x = pixels(2)
const before = Array.from((await model.forward(x)).data)
const { plugin, info } = await cudaDevice(addon(), 'cuda')
const lease = await leaseDevice(plugin, info.index, memoryLimit)

/** Takes memory in ever smaller pieces until not even the smallest is left. */
const taken = []
let refusal
for (const bytes of pieces) {
  for (;;) {
    try {
      taken.push(await lease.device.allocate({ bytes }))
    } catch (error) {
      refusal = error
      break
    }
  }
}
const gigabytes = taken.reduce((sum, { info: { bytes } }) => sum + bytes, 0) / 2 ** 30
check(
  'allocating',
  outOfMemory.test(refusal?.code),
  `${gigabytes.toFixed(1)} GiB, then ${described(refusal)}`,
)

const larger = await errorOf(model.forward(pixels(large)))
check('a larger batch', outOfMemory.test(larger?.code), described(larger))
const another = await errorOf(
  openModel('resnet152', 'float16', { maxBatch: 64, autotune: 'off', memoryLimit }).then(async (second) => {
    try {
      await second.forward(pixels(64))
    } finally {
      await second.dispose()
    }
  }),
)
check('another network', outOfMemory.test(another?.code), described(another))
if (!dry) {
  const tensor = await errorOf(Tensor.from(new Float32Array(2 ** 24), [2 ** 14, 2 ** 10]).to('cuda'))
  check('a tensor', outOfMemory.test(tensor?.code), described(tensor))
}

const same = (values) => values.every((value, i) => value === before[i])
const full = await errorOf(
  model.forward(x).then(({ data }) => same(Array.from(data)) || Promise.reject(new Error('other logits'))),
)
check('the network that was there goes on', full === undefined, described(full))

for (const memory of taken) memory.dispose()
const after = await errorOf(model.forward(pixels(large)))
check('the larger batch once memory is free', after === undefined, described(after))
await model.dispose()

const own = dry ? 2 : 300
const limited = await openModel(dry ? 'resnet18' : 'resnet50', 'float16', {
  maxBatch: large,
  autotune: 'off',
  memoryLimit: own * 2 ** 20,
})
const capped = await errorOf(limited.forward(pixels(large)))
check(`memoryLimit of ${own} MiB`, outOfMemory.test(capped?.code), described(capped))
await limited.dispose()
lease.release()
