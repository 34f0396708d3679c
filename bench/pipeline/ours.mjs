// Bytes to labels with this package: the child process of run.mjs. Reads a JSON argument, writes a JSON line.
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { repeated, timed } from './timing.mjs'

const { ResNet } = createRequire(import.meta.url)('../../dist/index.js')
const { checkpoint, buffers, seconds, threads, settings } = JSON.parse(process.argv[2])
const images = await Promise.all(buffers.map((file) => readFile(file)))
const model = await ResNet.load(checkpoint, { device: 'cpu', threads, ...settings })

async function* labels(source) {
  for await (const { predictions, error } of model.classifyStream(source, { topK: 5 })) {
    if (error) throw error
    yield predictions[0].index
  }
}

const result = await timed(labels, repeated(images), seconds)
await model.dispose()
process.stdout.write(`${JSON.stringify(result)}\n`)
