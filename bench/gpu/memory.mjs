// The most device memory that a process takes, as NVML sees it from outside: a process of ours and one of PyTorch's for each
// batch, one after the other, what the card held before taken off.
import { spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { seenBetween } from './monitor.mjs'
import { DeviceNetwork } from './ours.mjs'
import { startPeer } from './peer.mjs'
import { dry, mode, batch as only, report, role, scratch, unavailable } from './step.mjs'

const network = dry ? 'resnet18' : 'resnet50'
const size = dry ? 32 : 224
const seconds = dry ? 0.02 : 0.5
const batches = dry ? [1] : [32, 256]

async function ours(batch) {
  const open = await DeviceNetwork.open(network, { size, dtype: 'float16' })
  const program = await open.compile(batch)
  await program.prepare()
  await program.throughput(seconds)
  await program.close()
  await open.close()
}

async function oursInChild(batch) {
  const args = [
    fileURLToPath(import.meta.url),
    '--role',
    'ours',
    '--batch',
    String(batch),
    '--mode',
    mode,
    '--scratch',
    scratch,
  ]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit'] })
  const status = await new Promise((resolve) => child.on('close', resolve))
  if (status !== 0) throw new Error(`the process ended with status ${status}`)
}

async function pytorch(batch) {
  const peer = startPeer()
  try {
    await peer.ask('open', { network, dtype: 'float16', size })
    await peer.ask('prepare', { batch })
    await peer.ask('measure', { driver: 'pytorch eager', memory: 'device', seconds })
  } finally {
    await peer.end()
  }
}

async function peakOf(run) {
  // What the last process had is given back a moment after its end.
  await sleep(dry ? 0 : 1000)
  const quiet = Date.now()
  await sleep(dry ? 0 : 300)
  const before = seenBetween(scratch, quiet).at(-1)?.usedMiB
  const begun = Date.now()
  await run()
  const seen = seenBetween(scratch, begun).map(({ usedMiB }) => usedMiB)
  return seen.length === 0 || before === undefined ? undefined : Math.max(...seen) - before
}

if (role === 'ours') {
  await ours(only)
} else {
  let measured = 0
  for (const batch of batches) {
    for (const [driver, run] of [
      ['resnet', oursInChild],
      ['pytorch eager', pytorch],
    ]) {
      const peak = await peakOf(() => run(batch))
      if (peak === undefined) continue
      ++measured
      const name = `${network} float16 batch ${batch}, peak device memory, ${driver}`
      report('figure', { name, value: peak, unit: 'MiB' })
    }
  }
  if (measured === 0 && !dry) unavailable('neither NVML nor nvidia-smi tells the memory in use')
}
