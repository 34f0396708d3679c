import { type ChildProcessByStdio, spawn } from 'node:child_process'
import path from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { ResNetError } from '../errors.js'
import type { Demand, Run, Subject } from './subject.js'
import type { Trial } from './types.js'

const script = path.join(__dirname, 'drivers', 'peers.py')
const patienceMs = 5000

interface Versions {
  python: string
  /** null: not installed. */
  versions: Record<string, string | null>
}
interface OpenedPeer {
  version: string
  settings: Record<string, unknown>
  openMs: number
}
interface Waiting {
  resolve(answer: object): void
  reject(error: Error): void
}

/** A process of drivers/peers.py: a question is a line of JSON, and so is its answer. They are asked one at a time. */
export class PythonPeer implements Subject {
  private waiting: Waiting | undefined
  private stderr = ''
  private gone: Error | undefined
  private readonly over: Promise<void>

  private constructor(
    private readonly child: ChildProcessByStdio<Writable, Readable, Readable>,
    private readonly python: string,
  ) {
    child.stderr.on('data', (text) => {
      this.stderr = (this.stderr + text).slice(-4000)
    })
    createInterface({ input: child.stdout }).on('line', (line) => this.answered(line))
    // A process that has gone is reported when it is over, not by the pipe to it.
    child.stdin.on('error', () => {})
    this.over = new Promise((resolve) => {
      const end = (error: Error) => {
        this.gone ??= error
        this.waiting?.reject(this.gone)
        this.waiting = undefined
        resolve()
      }
      child.once('error', (cause) => end(cannotStart(python, cause)))
      child.once('close', (code, signal) =>
        end(
          new ResNetError(
            'ERR_RESNET_UNAVAILABLE',
            `bench: '${python}' ended by ${signal ?? `code ${code}`}: ${this.stderr.trim() || 'it wrote nothing'}`,
          ),
        ),
      )
    })
  }

  /** `program` takes the place of drivers/peers.py in tests. */
  static start(python: string, program: string = script): PythonPeer {
    // -B: nothing is written beside the package's files.
    return new PythonPeer(spawn(python, ['-B', program], { stdio: ['pipe', 'pipe', 'pipe'] }), python)
  }

  versions(packages: readonly string[]): Promise<Versions> {
    return this.ask<Versions>({ do: 'versions', packages })
  }

  open(driver: string, trial: Trial, images: number): Promise<OpenedPeer> {
    return this.ask<OpenedPeer>({ do: 'open', driver, trial, images })
  }

  async input(data: Float32Array, shape: readonly number[]): Promise<void> {
    await this.ask({ do: 'input', shape, data: bytesOf(data).toString('base64') })
  }

  async logits(): Promise<Float32Array> {
    const { data } = await this.ask<{ data: string }>({ do: 'logits' })
    return new Float32Array(Uint8Array.from(Buffer.from(data, 'base64')).buffer)
  }

  async run(demand: Demand): Promise<Run> {
    const run = await this.ask<Omit<Run, 'eventLoopP99Ms'>>({ do: 'run', ...demand })
    return { ...run, eventLoopP99Ms: Number.NaN }
  }

  /** Ends the process; one that does not end by itself is killed. */
  async close(): Promise<void> {
    this.gone ??= new Error('the peer was closed')
    this.child.stdin.end()
    const timer = setTimeout(() => this.child.kill('SIGKILL'), patienceMs)
    await this.over
    clearTimeout(timer)
  }

  /** At once, whatever it does. */
  kill(): void {
    this.child.kill('SIGKILL')
  }

  private ask<T extends object>(question: object): Promise<T> {
    if (this.gone !== undefined) return Promise.reject(this.gone)
    return new Promise<object>((resolve, reject) => {
      this.waiting = { resolve, reject }
      this.child.stdin.write(`${JSON.stringify(question)}\n`)
    }) as Promise<T>
  }

  private answered(line: string): void {
    const waiting = this.waiting
    this.waiting = undefined
    try {
      const answer = JSON.parse(line) as { error?: string }
      if (answer.error === undefined) waiting?.resolve(answer)
      else waiting?.reject(new Error(answer.error))
    } catch (cause) {
      waiting?.reject(
        new Error(`expected a line of JSON from '${this.python}', received '${line.slice(0, 200)}'`, {
          cause,
        }),
      )
    }
  }
}

function cannotStart(python: string, cause: Error): ResNetError {
  const message = `bench: cannot start '${python}': ${cause.message}; --python names the interpreter that has the peers`
  return new ResNetError('ERR_RESNET_UNAVAILABLE', message, { cause })
}

export function bytesOf(data: Float32Array): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength)
}
