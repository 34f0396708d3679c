import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import type { Writable } from 'node:stream'
import { ResNetError } from '../errors.js'

/** Where results go: standard output or the file of --output. Waits for slow readers. */
export class Output {
  readonly isTerminal: boolean
  /** Set when nobody reads any more (`resnet … | head`): no error, just the end. */
  closed = false
  #stream: Writable
  #failure: Error | undefined

  private constructor(stream: Writable, isTerminal: boolean) {
    this.#stream = stream
    this.isTerminal = isTerminal
    stream.on('error', (error: NodeJS.ErrnoException) => {
      this.closed = true
      if (error.code !== 'EPIPE') this.#failure = error
    })
  }

  /**
   * @param append Keep what the file holds, and write behind it.
   * @throws ERR_RESNET_IO when the file cannot be written.
   */
  static async open(file?: string, append = false): Promise<Output> {
    if (file === undefined) return new Output(process.stdout, process.stdout.isTTY === true)
    const stream = createWriteStream(file, { flags: append ? 'a' : 'w' })
    try {
      await once(stream, 'open')
    } catch (cause) {
      throw new ResNetError(
        'ERR_RESNET_IO',
        `The output file '${file}' cannot be written: ${(cause as Error).message}.`,
        {
          cause,
        },
      )
    }
    return new Output(stream, false)
  }

  async write(text: string): Promise<void> {
    if (this.closed || this.#stream.write(text)) return
    await new Promise<void>((resolve) => {
      const done = () => {
        this.#stream.off('drain', done).off('close', done).off('error', done)
        resolve()
      }
      this.#stream.on('drain', done).on('close', done).on('error', done)
    })
  }

  /** @throws what went wrong while writing, if anything other than a reader's leaving did. */
  async end(): Promise<void> {
    // Standard output is not ours to close; an empty write settles once everything before it is out.
    if (this.#stream === process.stdout) {
      if (!this.closed) await new Promise<void>((resolve) => this.#stream.write('', () => resolve()))
    } else if (!this.#stream.closed) {
      // The last to come: what goes wrong with the last of the results is told before.
      await new Promise<void>((resolve) => this.#stream.once('close', resolve).end())
    }
    if (this.#failure !== undefined) {
      throw new ResNetError('ERR_RESNET_IO', `The results cannot be written: ${this.#failure.message}.`, {
        cause: this.#failure,
      })
    }
  }
}

/** One piece of text to standard output. */
export async function print(text: string): Promise<void> {
  const output = await Output.open()
  await output.write(text)
  await output.end()
}
