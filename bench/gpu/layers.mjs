// Where a network's time goes on the device: each step's time as the backend measured it when it chose, a convolution's from the
// race of its engines, beside the least time that its bytes and FLOP need. What the backend does not time is listed without.
import { createRequire } from 'node:module'
import { DeviceNetwork } from './ours.mjs'
import { amount, dry, report } from './step.mjs'

const require = createRequire(import.meta.url)
const { roofline } = require('../../dist/bench/gpu/roofline.js')

const network = dry ? 'resnet18' : 'resnet50'
const size = dry ? 32 : 224
// A share is taken where all results are together, against this card's own ceilings.
const unit = { copyBytesPerSecond: 1, flopPerSecond: 1 }

// No kept engines: a race is what is wanted.
const ours = await DeviceNetwork.open(network, { size, dtype: 'float16', autotune: 'quick' })
for (const batch of dry ? [1] : [256, 1]) {
  const program = await ours.compile(batch)
  await program.prepare()
  const bounds = new Map(roofline(ours.plan, batch, unit).map((row) => [row.step, row]))
  // The last row is the batch as a whole.
  const steps = program.program.explain().filter(({ kind }) => kind !== 'schedule')
  const rows = steps.map(({ step, implementation, milliseconds }) => {
    const { bytes, flop, limit } = bounds.get(step)
    return { step, implementation, milliseconds, bytes, flop, limit }
  })
  report('layers', { network, dtype: 'float16', batch, rows })
  const layers = rows.reduce((sum, row) => sum + row.milliseconds, 0)
  const whole = (batch * 1000) / (await program.throughput(amount.seconds))
  const label = `${network} float16 batch ${batch}`
  report('figure', { name: `${label}: steps, each timed alone`, value: layers, unit: 'ms' })
  report('figure', { name: `${label}: the whole batch on the device`, value: whole, unit: 'ms' })
  await program.close()
}
await ours.close()
