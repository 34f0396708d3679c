import { models } from '../models.js'
import { ResNet } from '../resnet.js'
import { asJson, complain, type ExitCode, exitCode } from './exit.js'
import { expandInputs, type Input } from './inputs.js'
import { Output } from './output.js'
import { Progress } from './progress.js'

/** What classify and embed have in common. */
export interface ImageOptions {
  model?: string
  device?: 'auto' | 'cpu'
  threads?: number
  json?: boolean
  output?: string
}

export interface ImageCommand<T> {
  run(model: ResNet, image: string | URL, signal: AbortSignal): Promise<T>
  /** The members beside "file" of a JSON line. */
  json(result: T): object
  text(file: string, result: T): string
}

/** Images being read and decoded while the network runs on an earlier one. */
const inFlight = 4

const embeddedNote =
  'Note: the embedded model knows handwritten digits and nothing else; it calls every picture a digit. Use --model for your own.'

/** Runs a command over all images that the arguments name and writes the results in their order. */
export async function overImages<T>(
  names: string[],
  options: ImageOptions,
  command: ImageCommand<T>,
): Promise<ExitCode> {
  if (options.model === undefined) complain(embeddedNote)
  const interrupt = new AbortController()
  const onInterrupt = () => interrupt.abort(new Error('interrupted'))
  // Once: a second Ctrl+C ends the process at once.
  process.once('SIGINT', onInterrupt)
  try {
    const model = await load(options, interrupt.signal)
    if (model === undefined) return interrupt.signal.aborted ? exitCode.interrupted : exitCode.noModel
    try {
      return await withModel(model, names, options, command, interrupt.signal)
    } finally {
      await model.dispose()
    }
  } finally {
    process.off('SIGINT', onInterrupt)
  }
}

async function withModel<T>(
  model: ResNet,
  names: string[],
  options: ImageOptions,
  command: ImageCommand<T>,
  signal: AbortSignal,
): Promise<ExitCode> {
  // Opened only now: a model that cannot be loaded leaves an earlier run's file as it is.
  const output = await openOutput(options.output)
  if (output === undefined) return exitCode.usage
  try {
    const failures = await processAll(model, await expandInputs(names), options, command, output, signal)
    if (signal.aborted) return exitCode.interrupted
    return failures > 0 ? exitCode.someFailed : exitCode.ok
  } finally {
    await output.end()
  }
}

async function openOutput(file?: string): Promise<Output | undefined> {
  try {
    return await Output.open(file)
  } catch (error) {
    complain(`resnet: ${asJson(error).message}`)
    return undefined
  }
}

async function load(options: ImageOptions, signal: AbortSignal): Promise<ResNet | undefined> {
  try {
    const { model = models.digits, device, threads } = options
    return await ResNet.load(model, { device, threads, signal })
  } catch (error) {
    if (!signal.aborted) {
      const { code, message } = asJson(error)
      complain(`resnet: the model could not be loaded (${code}).\n${message}`)
    }
    return undefined
  }
}

async function processAll<T>(
  model: ResNet,
  inputs: Input[],
  options: ImageOptions,
  command: ImageCommand<T>,
  output: Output,
  signal: AbortSignal,
): Promise<number> {
  const progress = new Progress(inputs.length)
  let failures = 0
  const work = async ({ image, error }: Input) => {
    if (error !== undefined) throw error
    return command.run(model, image, signal)
  }
  for await (const [input, outcome] of inOrder(inputs, work)) {
    if (signal.aborted || output.closed) break
    const complains = outcome.status === 'rejected' && !options.json
    if (output.isTerminal || complains) progress.clear()
    if (outcome.status === 'rejected') {
      failures += 1
      const error = asJson(outcome.reason)
      if (options.json) await output.write(`${JSON.stringify({ file: input.file, error })}\n`)
      else complain(`${input.file}: ${error.message} (${error.code})`)
    } else if (options.json) {
      await output.write(`${JSON.stringify({ file: input.file, ...command.json(outcome.value) })}\n`)
    } else {
      await output.write(command.text(input.file, outcome.value))
    }
    progress.advance()
  }
  progress.clear()
  if (failures > 0 && inputs.length > 1) complain(`${failures} of ${inputs.length} images failed.`)
  return failures
}

/** Starts up to `inFlight` pieces of work at a time and yields their outcomes in the order of the items. */
async function* inOrder<I, T>(
  items: readonly I[],
  work: (item: I) => Promise<T>,
): AsyncGenerator<[I, PromiseSettledResult<T>]> {
  const running: [I, Promise<PromiseSettledResult<T>>][] = []
  const settle = (item: I) => Promise.allSettled([work(item)]).then(([outcome]) => outcome)
  let next = 0
  try {
    for (;;) {
      while (next < items.length && running.length < inFlight) {
        const item = items[next] as I
        running.push([item, settle(item)])
        next += 1
      }
      const first = running.shift()
      if (first === undefined) return
      yield [first[0], await first[1]]
    }
  } finally {
    // Left early: nothing may still use the model when it is disposed.
    await Promise.all(running.map(([, outcome]) => outcome))
  }
}
