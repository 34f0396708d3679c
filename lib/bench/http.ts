import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import path from 'node:path'
import { buffer } from 'node:stream/consumers'
import type { ModelStats } from '../stats.js'
import { deviceMemory } from './device-memory.js'
import { firstCall, measureSubject } from './measure.js'
import type { Round, RoundCall } from './round.js'
import { stageSums, stagesBetween } from './stages.js'
import { makeCalls, type Subject } from './subject.js'
import type { HttpTarget, Stages } from './types.js'
import type { Usage } from './usage.js'

/** How long a server may take to listen, to answer its first request, and to end. */
const patienceMs = 30_000

/** One round against a server: started here, and ended gracefully, or somebody else's. */
export async function httpRound(
  { trial, seconds, rate }: Pick<RoundCall, 'trial' | 'seconds' | 'rate'>,
  target: HttpTarget,
  patience = patienceMs,
): Promise<Round> {
  const begin = performance.now()
  const server = target.server === undefined ? undefined : await Server.start(target.server, patience)
  const openMs = performance.now() - begin
  const url = new URL(target.url, server?.address)
  const client = new Client(url, patience)
  try {
    const images = (trial.images ?? []).map((file) => readFileSync(file))
    const subject = subjectOf(client, { images, server, connections: target.connections })
    const load = await firstCall(subject, openMs)
    const stages = () => client.watchStages()
    const measured = await measureSubject({ trial, subject, load, seconds, rate, stages })
    const stats = await client.stats()
    return { version: '', settings: settingsOf(stats), measured: { ...measured, ...deviceMemory(stats) } }
  } finally {
    client.close()
    await server?.stop()
  }
}

interface Target {
  images: readonly Buffer[]
  server?: Server
  connections: number
}

function subjectOf(client: Client, { images, server, connections }: Target): Subject {
  let next = 0
  const call = () => client.post(images[next++ % images.length] as Buffer)
  return {
    async run(demand) {
      await server?.watch()
      const begin = performance.now()
      const calls = await makeCalls(call, demand, connections)
      const elapsedMs = performance.now() - begin
      return { ...calls, elapsedMs, ...((await server?.usage()) ?? unknownUsage) }
    },
  }
}

const unknownUsage: Usage = { cpuMs: Number.NaN, eventLoopP99Ms: Number.NaN, peakMb: Number.NaN }

/**
 * Keeps its connections alive, as many as there are requests under way. Those fail when none of them is answered for
 * `patience` milliseconds; a server that is behind answers others meanwhile.
 */
class Client {
  private readonly transport: typeof http | typeof https
  private readonly agent: http.Agent | https.Agent
  private readonly underWay = new Set<http.ClientRequest>()
  /** When one was answered last, or the first of those under way was sent. */
  private heardAt = 0
  private readonly watch: NodeJS.Timeout

  constructor(
    private readonly url: URL,
    private readonly patience: number,
  ) {
    this.transport = url.protocol === 'https:' ? https : http
    this.agent = new this.transport.Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY })
    this.watch = setInterval(() => this.failLate(), patience / 4)
  }

  /** Resolves when the answer is read. Status 503 is a refusal; any other than 200 is a failure. */
  async post(image: Buffer): Promise<void> {
    const headers = { 'content-type': 'application/octet-stream', 'content-length': image.length }
    const { status, body } = await this.request(this.url, { method: 'POST', headers }, image)
    if (status === 200) return
    const text = `POST ${this.url.pathname}: expected status 200, received ${status}: ${body.toString().slice(0, 300)}`
    throw Object.assign(new Error(text), status === 503 ? { code: 'ERR_RESNET_QUEUE_FULL' } : {})
  }

  /** What GET /stats tells, where it tells a model's statistics. */
  async stats(): Promise<ModelStats | undefined> {
    const { status, body } = await this.request(new URL('/stats', this.url), { method: 'GET' })
    if (status !== 200) return undefined
    try {
      const stats = JSON.parse(body.toString()) as Partial<ModelStats>
      return stats.latencyMs === undefined || stats.batchSizes === undefined
        ? undefined
        : (stats as ModelStats)
    } catch {
      return undefined
    }
  }

  /** By its own statistics, which are of the whole server: of other clients' images too. */
  async watchStages(): Promise<() => Promise<Stages | undefined>> {
    const before = await this.stats()
    return async () => {
      const after = await this.stats()
      if (before === undefined || after === undefined) return undefined
      return stagesBetween(stageSums(before), stageSums(after))
    }
  }

  close(): void {
    clearInterval(this.watch)
    this.agent.destroy()
  }

  private failLate(): void {
    if (performance.now() - this.heardAt < this.patience) return
    for (const request of this.underWay) {
      const asked = `${request.method} ${request.path}`
      request.destroy(
        new Error(`${asked}: expected an answer within ${this.patience / 1000} s, received none`),
      )
    }
  }

  private request(
    url: URL,
    options: http.RequestOptions,
    body?: Buffer,
  ): Promise<{ status?: number; body: Buffer }> {
    return new Promise((resolve, reject) => {
      const request = this.transport.request(url, { ...options, agent: this.agent }, (response) => {
        buffer(response).then((read) => resolve({ status: response.statusCode, body: read }), reject)
      })
      request.on('error', reject)
      request.on('close', () => {
        this.underWay.delete(request)
        this.heardAt = performance.now()
      })
      if (this.underWay.size === 0) this.heardAt = performance.now()
      this.underWay.add(request)
      request.end(body)
    })
  }
}

function settingsOf(stats: ModelStats | undefined): Record<string, unknown> {
  if (stats === undefined) return {}
  const { device, dtype, lanes } = stats
  return { device, dtype, lanes }
}

/** One line of what a program wrote before it ended: that with the error, of those that Node.js writes around it. */
function lastWords(errors: string): string {
  const lines = errors.split('\n').filter((line) => line.trim() !== '' && !/^Node\.js v[\d.]+$/.test(line))
  return lines.find((line) => /^(Uncaught )?[\w.]*Error\b/.test(line)) ?? lines.at(-1) ?? 'it wrote nothing'
}

/** A program in Node.js that listens on $PORT, says so, and ends by itself when asked to by SIGTERM. */
class Server {
  private constructor(
    private readonly child: ChildProcess,
    /** 'http://127.0.0.1:40123' */
    readonly address: string,
    private readonly over: Promise<string>,
  ) {}

  static async start(program: string, patience: number): Promise<Server> {
    const child = spawn(process.execPath, ['--require', path.join(__dirname, 'observed.js'), program], {
      env: { ...process.env, PORT: '0' },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    let written = ''
    let errors = ''
    child.stderr?.on('data', (text) => {
      errors = (errors + text).slice(-2000)
    })
    const over = new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(error.message))
      child.once('close', (code, signal) =>
        resolve(code === 0 ? '' : `ended by ${signal ?? `code ${code}`}: ${lastWords(errors)}`),
      )
    })
    const address = await new Promise<string>((resolve, reject) => {
      child.stdout?.on('data', (text) => {
        written += text
        const found = /\bhttps?:\/\/[^\s'"]+/.exec(written)
        if (found) resolve(found[0])
      })
      over.then((why) => reject(new Error(`${program}: before it printed its address, it ${why || 'ended'}`)))
      setTimeout(
        () =>
          reject(
            new Error(
              `${program}: expected its http:// address on stdout within ${patience / 1000} s, received ` +
                JSON.stringify(written.slice(0, 200)),
            ),
          ),
        patience,
      ).unref()
    }).catch((error) => {
      child.kill('SIGKILL')
      throw error
    })
    return new Server(child, address, over)
  }

  async watch(): Promise<void> {
    await this.ask('watch')
  }

  async usage(): Promise<Usage> {
    return (await this.ask('usage')).usage as Usage
  }

  private async ask(question: string): Promise<{ usage?: Usage }> {
    const answer = once(this.child, 'message')
    this.child.send(question)
    const gone = this.over.then((why) => {
      throw new Error(`the server ${why || 'ended'}`)
    })
    gone.catch(() => {})
    return (await Promise.race([answer, gone]))[0]
  }

  /** Asks it to end. @throws when it does not, or not with code 0. */
  async stop(): Promise<void> {
    this.child.kill('SIGTERM')
    const timer = setTimeout(() => this.child.kill('SIGKILL'), patienceMs)
    const why = await this.over
    clearTimeout(timer)
    if (why !== '') throw new Error(`the server did not end gracefully after SIGTERM: ${why}`)
  }
}
