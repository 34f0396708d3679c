import type { Stop } from '../abort.js'
import type { Device } from '../device.js'
import { models } from '../models.js'
import { ResNet } from '../resnet.js'
import { streamed } from '../stream.js'
import { asJson, complain, type ExitCode, exitCode } from './exit.js'
import { expandInputs, type Input } from './inputs.js'
import { Output } from './output.js'
import { Progress } from './progress.js'
import { Finished } from './resume.js'

/** What classify and embed have in common. */
export interface ImageOptions {
  model?: string
  device?: Device
  threads?: number
  json?: boolean
  output?: string
  /** Keep the results that `output` holds and work on the other images. */
  resume?: boolean
}

export interface ImageCommand<T> {
  run(model: ResNet, image: string | URL, signal: AbortSignal): Promise<T>
  /** The member beside "file" of a JSON line. */
  member: string
  json(result: T): unknown
  text(file: string, result: T): string
}

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
  const opened = await open(options, command.member)
  if (opened === undefined) return exitCode.usage
  const { output, finished } = opened
  try {
    const all = await expandInputs(names)
    const inputs = all.filter(({ file }) => !finished?.take(file))
    if (finished !== undefined)
      complain(`${all.length - inputs.length} of ${all.length} images have their results.`)
    const failures = await processAll(model, inputs, options, command, output, signal)
    if (signal.aborted) return exitCode.interrupted
    return failures + (finished?.failures ?? 0) > 0 ? exitCode.someFailed : exitCode.ok
  } finally {
    await output.end()
  }
}

async function open(
  { output, resume }: ImageOptions,
  member: string,
): Promise<{ output: Output; finished?: Finished } | undefined> {
  try {
    if (output === undefined || !resume) return { output: await Output.open(output) }
    const finished = await Finished.read(output, member)
    return { output: await Output.open(output, true), finished }
  } catch (error) {
    const { code, message } = asJson(error)
    complain(`resnet: ${message} (${code})`)
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
  const asLines = options.json || options.resume || /\.(ndjson|jsonl)$/i.test(options.output ?? '')
  const run = async ({ image, error }: Input, stop: AbortSignal) => {
    if (error !== undefined) throw error
    return command.run(model, image, stop)
  }
  // Every failure is its image's here, whatever its code.
  const work = async (input: Input, stop: Stop) => {
    const [outcome] = await Promise.allSettled([run(input, stop.signal)])
    return { outcome }
  }
  for await (const { input, outcome } of untilAborted(
    streamed(inputs, { concurrency: model.ahead, signal }, work),
    signal,
  )) {
    if (output.closed || outcome === undefined) break
    const complains = outcome.status === 'rejected' && !asLines
    if (output.isTerminal || complains) progress.clear()
    if (outcome.status === 'rejected') {
      failures += 1
      const error = asJson(outcome.reason)
      if (asLines) await output.write(`${JSON.stringify({ file: input.file, error })}\n`)
      else complain(`${input.file}: ${error.message} (${error.code})`)
    } else if (asLines) {
      const line = { file: input.file, [command.member]: command.json(outcome.value) }
      await output.write(`${JSON.stringify(line)}\n`)
    } else {
      await output.write(command.text(input.file, outcome.value))
    }
    progress.advance()
  }
  progress.clear()
  if (failures > 0 && inputs.length > 1) complain(`${failures} of ${inputs.length} images failed.`)
  return failures
}

/** An interrupted run just ends. */
async function* untilAborted<T>(items: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  try {
    yield* items
  } catch (error) {
    if (!signal.aborted) throw error
  }
}
