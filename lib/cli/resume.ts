import { createReadStream, existsSync } from 'node:fs'
import { open, truncate } from 'node:fs/promises'
import { ResNetError } from '../errors.js'

/** What every line begins with. */
const opening = '{"file":'

/** The results that an earlier run has left in a file of JSON lines. */
export class Finished {
  /** How many of them are errors. */
  failures = 0
  private readonly files = new Map<string, number>()

  private constructor(
    private readonly output: string,
    private readonly member: string,
  ) {}

  /**
   * Reads them, a line at a time, and cuts off a torn last line: the run was killed while it wrote it.
   * @param member What a line of this command has beside "file": 'predictions'.
   * @throws ERR_RESNET_IO when the file cannot be read or cut; ERR_RESNET_CORRUPT for a line that this command has not
   * written, and then the file stays as it is.
   */
  static async read(output: string, member: string): Promise<Finished> {
    const finished = new Finished(output, member)
    if (!existsSync(output)) return finished
    try {
      // Of something else, a video or a pipe, no more is read.
      const [start = ''] = (await startOf(output)).split('\n')
      if (!start.startsWith(opening) && !opening.startsWith(start)) throw finished.foreign(start, 1)
      let number = 0
      for await (const { text, from, complete } of linesOf(output)) {
        number += 1
        if (complete) finished.add(text, number)
        else if (text.startsWith(opening) || opening.startsWith(text)) await truncate(output, from)
        else throw finished.foreign(text, number)
      }
    } catch (cause) {
      if (cause instanceof ResNetError) throw cause
      const { message } = cause as Error
      throw new ResNetError('ERR_RESNET_IO', `The output file '${output}' cannot be read: ${message}.`, {
        cause,
      })
    }
    return finished
  }

  /** Whether an input has its result; one that is named twice needs two. */
  take(file: string): boolean {
    const left = this.files.get(file) ?? 0
    if (left > 0) this.files.set(file, left - 1)
    return left > 0
  }

  private add(text: string, number: number): void {
    let line: Record<string, unknown>
    try {
      line = JSON.parse(text)
    } catch {
      throw this.foreign(text, number)
    }
    const { file, error } = line ?? {}
    if (typeof file !== 'string' || (error === undefined && line[this.member] === undefined)) {
      throw this.foreign(text, number)
    }
    if (error !== undefined) this.failures += 1
    this.files.set(file, (this.files.get(file) ?? 0) + 1)
  }

  private foreign(text: string, number: number): ResNetError {
    const shown = text.length > 60 ? `${text.slice(0, 60)}…` : text
    return new ResNetError(
      'ERR_RESNET_CORRUPT',
      `Expected the results of an earlier run in '${this.output}', each a line {"file":…,"${this.member}":…}, received ` +
        `'${shown}' as line ${number}. Name that run's file, or another one to start anew.`,
    )
  }
}

interface Line {
  text: string
  /** Offset of its first byte. */
  from: number
  /** Ends in a newline. */
  complete: boolean
}

async function startOf(file: string): Promise<string> {
  const handle = await open(file)
  try {
    if (!(await handle.stat()).isFile()) throw new Error('it is no file that a run could go on with')
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(100), 0, 100, 0)
    return buffer.toString('utf8', 0, bytesRead)
  } finally {
    await handle.close()
  }
}

async function* linesOf(file: string): AsyncGenerator<Line> {
  let rest: Buffer = Buffer.alloc(0)
  let from = 0
  for await (const chunk of createReadStream(file)) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
      yield { text: rest.toString('utf8', 0, end), from, complete: true }
      from += end + 1
      rest = rest.subarray(end + 1)
    }
  }
  if (rest.length > 0) yield { text: rest.toString(), from, complete: false }
}
