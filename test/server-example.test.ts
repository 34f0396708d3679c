import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { packageRoot } from '../lib/root.js'

const main = path.join(packageRoot, 'examples', 'server', 'main.mjs')
const sample = (digit: number) => readFileSync(path.join(packageRoot, 'models', 'samples', `${digit}.png`))

interface Server {
  url: string
  child: ChildProcess
  /** What it wrote to standard output: its log. */
  log(): string
  /** Its exit code and what it wrote to standard error. */
  over: Promise<{ code: number | null; stderr: string }>
}
const servers: Server[] = []

async function start(environment: Record<string, string> = {}): Promise<Server> {
  const child = spawn(process.execPath, [main], {
    cwd: packageRoot,
    env: { ...process.env, PORT: '0', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let stderr = ''
  child.stderr.on('data', (text) => (stderr += text))
  const over = new Promise<{ code: number | null; stderr: string }>((resolve) =>
    child.on('exit', (code) => resolve({ code, stderr })),
  )
  let written = ''
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout.on('data', (text) => {
      written += text
      const found = /listening on (\S+)/.exec(written)
      if (found) resolve(found[1] as string)
    })
    over.then(({ stderr: why }) => reject(new Error(`the server ended: ${why}`)))
  })
  const server = { url, child, log: () => written, over }
  servers.push(server)
  return server
}

const post = (url: string, body: Uint8Array, init: RequestInit = {}) =>
  fetch(url, { method: 'POST', body, headers: { 'content-type': 'image/png' }, ...init })

let shared: Server
beforeAll(async () => {
  shared = await start()
})
afterAll(async () => {
  for (const { child } of servers) child.kill('SIGKILL')
  await Promise.all(servers.map(({ over }) => over))
})

test('names images, many at once, in common batches', async () => {
  const digits = Array.from({ length: 60 }, (_, i) => i % 10)
  const answers = await Promise.all(
    digits.map(async (digit) => {
      const answer = await post(`${shared.url}/classify?top=1`, sample(digit))
      expect(answer.status).toBe(200)
      const { predictions } = (await answer.json()) as { predictions: { index: number }[] }
      expect(predictions).toHaveLength(1)
      return predictions[0]?.index
    }),
  )
  expect(answers).toEqual(digits)
  const stats = (await (await fetch(`${shared.url}/stats`)).json()) as { batchSizes: Record<string, number> }
  expect(Math.max(...Object.keys(stats.batchSizes).map(Number))).toBeGreaterThan(1)
})

test('embeds, reports health and metrics', async () => {
  const { embedding } = (await (await post(`${shared.url}/embed`, sample(3))).json()) as {
    embedding: number[]
  }
  expect(embedding.length).toBeGreaterThan(8)
  expect(embedding.every(Number.isFinite)).toBe(true)
  expect(await (await fetch(`${shared.url}/health`)).json()).toEqual({ ok: true })
  const metrics = await fetch(`${shared.url}/metrics`)
  expect(metrics.headers.get('content-type')).toMatch(/^text\/plain/)
  expect(await metrics.text()).toMatch(/resnet_calls_total\{model="default",outcome="completed"\} [1-9]/)
})

test.each([
  ['no image', Buffer.from('no image'), 400, 'ERR_RESNET_IMAGE'],
  ['an empty body', Buffer.alloc(0), 400, 'ERR_RESNET_IMAGE'],
  [
    'more pixels than a photograph has',
    Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9000" height="9000"/>'),
    400,
    'ERR_RESNET_IMAGE',
  ],
])("the client's mistake: %s", async (_, body, status, code) => {
  const answer = await post(`${shared.url}/classify`, body)
  expect(answer.status).toBe(status)
  expect(((await answer.json()) as { code: string }).code).toBe(code)
})

test('a body above the limit is refused before it is sent', async () => {
  const { port, hostname } = new URL(shared.url)
  const socket = createConnection({ port: Number(port), host: hostname })
  socket.write(
    'POST /classify HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 11534336\r\n\r\n',
  )
  const [answer] = (await once(socket, 'data')) as [Buffer]
  socket.destroy()
  expect(answer.toString()).toMatch(/^HTTP\/1\.1 413 /)
})

test('a query that is none', async () => {
  expect((await post(`${shared.url}/classify?top=0`, sample(1))).status).toBe(400)
  expect((await fetch(`${shared.url}/classify`)).status).toBe(404)
})

test('more than the queue takes is refused at once, the rest is answered, and then all is well', async () => {
  const { url } = await start({ MAX_QUEUE: '4' })
  const answers = await Promise.all(Array.from({ length: 80 }, () => post(`${url}/classify`, sample(7))))
  const statuses = answers.map(({ status }) => status)
  expect(new Set(statuses)).toEqual(new Set([200, 503]))
  const refused = answers.find(({ status }) => status === 503)
  expect(refused?.headers.get('retry-after')).toBe('1')
  expect(await refused?.json()).toMatchObject({ code: 'ERR_RESNET_QUEUE_FULL' })
  await Promise.all(answers.filter((answer) => answer !== refused).map((answer) => answer.arrayBuffer()))
  expect((await post(`${url}/classify`, sample(7))).status).toBe(200)
})

test('a client that goes away takes its image out of the queue', async () => {
  const before = (await (await fetch(`${shared.url}/stats`)).json()) as { calls: { aborted: number } }
  const { port, hostname } = new URL(shared.url)
  const image = sample(5)
  const head = `POST /classify HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: ${image.length}\r\n\r\n`
  // A socket that is destroyed as soon as the request is out, many times: one of them is caught before its answer.
  const aborted = async () =>
    ((await (await fetch(`${shared.url}/stats`)).json()) as typeof before).calls.aborted -
    before.calls.aborted
  for (let round = 0; round < 50 && (await aborted()) === 0; ++round) {
    const others = Array.from({ length: 20 }, () => post(`${shared.url}/classify`, image))
    const socket = createConnection({ port: Number(port), host: hostname })
    await new Promise<void>((resolve) =>
      socket.write(Buffer.concat([Buffer.from(head), image]), () => resolve()),
    )
    socket.destroy()
    for (const answer of await Promise.all(others)) expect(answer.status).toBe(200)
  }
  expect(await aborted()).toBeGreaterThan(0)
  // It is no error of the server's.
  expect(shared.log()).toMatch(/^listening on \S+\n$/)
})

test('SIGTERM: what is under way is answered, then the process ends by itself', async () => {
  // Nothing runs before the batch is full or the delay is over, so that all requests are waiting when it is asked to stop.
  const { url, child, over } = await start({ MAX_BATCH: '64', MAX_DELAY_MS: '3000' })
  const requests = Array.from({ length: 30 }, () => post(`${url}/classify`, sample(2)))
  const waiting = async () =>
    ((await (await fetch(`${url}/stats`)).json()) as { queueDepth: number }).queueDepth
  while ((await waiting()) < requests.length) await new Promise((resolve) => setTimeout(resolve, 5))
  child.kill('SIGTERM')
  const statuses = await Promise.all(requests.map(async (request) => (await request).status))
  expect(new Set(statuses)).toEqual(new Set([200]))
  expect(await over).toEqual({ code: 0, stderr: '' })
  await expect(fetch(`${url}/health`)).rejects.toThrow()
})

test.each([
  ['an upload that has stalled', 'POST /classify HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nbegin'],
  ['a connection on which nothing comes', ''],
])('SIGTERM: %s does not keep it', async (_, begin) => {
  const { url, child, over } = await start({ GRACE_MS: '200' })
  const { port, hostname } = new URL(url)
  const socket = createConnection({ port: Number(port), host: hostname })
  const closed = once(socket, 'close')
  await once(socket, 'connect')
  socket.write(begin)
  // It is answered by a server that has taken the connection before.
  await fetch(`${url}/health`)
  child.kill('SIGTERM')
  await closed
  expect(await over).toEqual({ code: 0, stderr: '' })
})

test('a setting that is no number is named', async () => {
  await expect(start({ MAX_BATCH: 'many' })).rejects.toThrow("MAX_BATCH: expected a number, received 'many'")
})

test.each([
  ['while its model is warmed up', 'queueMicrotask'],
  ['at any time until it listens', 'setImmediate'],
])('SIGTERM %s ends it as well', async (_, soon) => {
  const early = path.join(mkdtempSync(path.join(tmpdir(), 'resnet-server-')), 'early.cjs')
  // As soon as there is somebody who hears it.
  writeFileSync(
    early,
    `process.on('newListener', (name) => name === 'SIGTERM' && ${soon}(() => process.emit(name, name)))`,
  )
  const child = spawn(process.execPath, ['--require', early, main], {
    env: { ...process.env, PORT: '0' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const [out, errors, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit'),
  ])
  expect({ code, errors }).toEqual({ code: 0, errors: '' })
  if (soon === 'queueMicrotask') expect(out).toBe('')
  rmSync(path.dirname(early), { recursive: true })
})
