// Bytes to labels as one would write it today with sharp and onnxruntime-node: worker threads, since both hold the thread
// that calls them, each with a session of its own; sharp decodes the next batch while the network runs the last.
// The child process of run.mjs: reads a JSON argument, writes a JSON line.
import { readFile } from 'node:fs/promises'
import { Worker } from 'node:worker_threads'
import { repeated, timed } from './timing.mjs'

const { onnx, peers, buffers, seconds, preset, settings } = JSON.parse(process.argv[2])
const { workers, batch, sessionThreads, sharpThreads } = settings
const images = await Promise.all(buffers.map((file) => readFile(file)))
const opening = performance.now()

const pool = await Promise.all(
  Array.from({ length: workers }, async () => {
    const worker = new Worker(new URL('./peer-worker.mjs', import.meta.url), {
      workerData: { onnx, peers, preset, batch, sessionThreads, sharpThreads },
    })
    await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
    return worker
  }),
)

/** Batches go to the worker whose turn it is, two under way in each, and come back in that order. */
async function* labels(source) {
  const waiting = []
  const iterator = source[Symbol.iterator]()
  let turn = 0
  const send = () => {
    const worker = pool[turn++ % pool.length]
    const list = Array.from({ length: batch }, () => iterator.next().value)
    waiting.push(new Promise((resolve) => worker.callbacks.push(resolve)))
    worker.postMessage(list)
  }
  for (let i = 0; i < 2 * pool.length; ++i) send()
  for (;;) {
    const indices = await waiting.shift()
    send()
    yield* indices
  }
}

for (const worker of pool) {
  worker.callbacks = []
  worker.on('message', (indices) => worker.callbacks.shift()(indices))
  worker.on('error', (error) => {
    throw error
  })
}
const result = await timed(labels, repeated(images), { seconds, opening })
process.stdout.write(`${JSON.stringify(result)}\n`)
// Asked to end, not terminated: onnxruntime-node aborts the process when a worker goes in the middle of a run.
for (const worker of pool) worker.postMessage('end')
