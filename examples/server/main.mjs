// node examples/server/main.mjs: one process, one model, graceful shutdown. See docs/serving.md for the settings.
import { models, ResNet } from 'resnet'
import { createApp } from './app.mjs'

function number(name, fallback) {
  const value = Number(process.env[name] ?? fallback)
  if (Number.isFinite(value)) return value
  throw new Error(`${name}: expected a number, received '${process.env[name]}'`)
}

const maxBatch = number('MAX_BATCH', 8)
/** How long requests may take that are under way at the end. */
const graceMs = number('GRACE_MS', 10_000)
const model = await ResNet.load(process.env.MODEL ?? models.digits, {
  maxBatch,
  maxDelayMs: number('MAX_DELAY_MS', 0),
  // What waits longer than a client does is work for nobody.
  maxQueue: number('MAX_QUEUE', 256),
  // A small file may say that it is large: nobody's photograph takes more of the memory than this.
  imageLimits: { maxPixels: number('MAX_PIXELS', 64_000_000) },
  lanes: Number(process.env.LANES) || process.env.LANES || 'auto',
})
const app = createApp(model, { logger: { level: process.env.LOG_LEVEL ?? 'warn' } })

/** A server that answers is ready: its networks are compiled before it listens. Batches run in powers of two. */
async function start() {
  const batches = Array.from({ length: Math.ceil(Math.log2(maxBatch)) + 1 }, (_, i) =>
    Math.min(maxBatch, 2 ** i),
  )
  const { crop, resize } = model.preprocessing
  const [height, width] = [crop ?? resize].flat()
  // Without a crop the longer side of an image stays what it is.
  if (width !== undefined || crop !== null) await model.warmup({ height, width: width ?? height, batches })
  if (stopping !== undefined) return
  const address = await app.listen({ port: number('PORT', 8080), host: process.env.HOST ?? '127.0.0.1' })
  console.log(`listening on ${address}`)
}

let stopping
/** Takes no more connections, answers what is under way, then frees the model. */
function stop() {
  stopping ??= started
    .catch(() => {})
    .then(async () => {
      // An upload that stalls, or a connection on which nothing comes, would keep the process.
      const late = setTimeout(() => app.server.closeAllConnections(), graceMs)
      await app.close()
      clearTimeout(late)
      await model.dispose()
    })
  return stopping
}
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, stop)

const started = start()
await started
