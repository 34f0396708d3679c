// The routes: an image in, its labels out. Separate from main.mjs, so that another server can mount them.
import fastify from 'fastify'
import { Registry } from 'prom-client'
import { ResNetError } from 'resnet'
import { publishMetrics } from 'resnet/metrics'

const maxBytes = 10 * 1024 * 1024
const maxTop = 100
/** From the first byte of a request to its last: nobody holds a connection by sending nothing. */
const uploadMs = 30_000

/** What an error of the package means to an HTTP client; everything else is a 500. */
const statusOf = {
  ERR_RESNET_IMAGE: 400,
  ERR_RESNET_QUEUE_FULL: 503,
  ERR_RESNET_DISPOSED: 503,
}

/**
 * A fastify application around one model that all requests share: their images run in common batches.
 * @param {import('resnet').ResNet} model
 * @param {import('fastify').FastifyServerOptions} options
 */
export function createApp(model, options = {}) {
  const app = fastify({ bodyLimit: maxBytes, requestTimeout: uploadMs, ...options })
  const register = new Registry()
  const stopMetrics = publishMetrics(model, { register })
  app.addHook('onClose', async () => stopMetrics())

  // Once it closes, an answer ends its connection: one that is kept alive would keep the process.
  let closing = false
  app.addHook('preClose', async () => {
    closing = true
  })
  app.addHook('onSend', async (_request, reply) => {
    if (closing) reply.header('connection', 'close')
  })

  // Bodies are images, whatever their type says: the decoder looks at the bytes.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))

  app.setErrorHandler((error, request, reply) => {
    const status = error instanceof ResNetError ? (statusOf[error.code] ?? 500) : (error.statusCode ?? 500)
    if (status === 503) reply.header('retry-after', '1')
    if (status === 500) request.log.error(error)
    return reply.code(status).send({ code: error.code, message: error.message })
  })

  const top = { type: 'integer', minimum: 1, maximum: maxTop, default: 5 }
  const querystring = { type: 'object', properties: { top }, additionalProperties: false }
  app.post('/classify', { schema: { querystring } }, async (request, reply) => {
    const signal = whenGone(reply)
    const image = request.body ?? Buffer.alloc(0)
    return { predictions: await model.classify(image, { topK: request.query.top, signal }) }
  })

  app.post('/embed', async (request, reply) => {
    const { data } = await model.embed(request.body ?? Buffer.alloc(0), { signal: whenGone(reply) })
    return { embedding: Array.from(data) }
  })

  app.get('/health', async () => ({ ok: true }))
  app.get('/stats', async () => model.stats())
  app.get('/metrics', async (_request, reply) => {
    reply.type(register.contentType)
    return register.metrics()
  })
  return app
}

/** Aborts when the client goes away before it has its answer: its image leaves the queue. */
function whenGone(reply) {
  const gone = new AbortController()
  // Nobody reads this status (nginx's for it); it is no failure of the server's.
  const reason = Object.assign(new Error('the client went away'), { statusCode: 499 })
  reply.raw.on('close', () => {
    if (!reply.raw.writableFinished) gone.abort(reason)
  })
  return gone.signal
}
