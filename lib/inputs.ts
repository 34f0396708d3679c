import { setMaxListeners } from 'node:events'
import type { InputView, OutputView } from '../binding.js'
import { onAbort } from './abort.js'
import type { BatchInput, Engine, Request } from './engine.js'
import { invalidArgument } from './errors.js'
import { preprocess } from './image/decode.js'
import type { ImageLimits } from './image/source.js'
import type { ImageInput, PreprocessedImage, Preprocessing } from './image/types.js'
import { allocateOutput, type Shape } from './outputs.js'
import type { Turn } from './queue.js'
import type { Tensor } from './tensor.js'

export interface BatchRunner {
  /** What messages begin with: 'classify'. */
  method: string
  engine: Engine
  request: Request
  signal?: AbortSignal
}
interface Turns {
  turn: Turn
}
interface ImageOptions {
  preprocessing: Preprocessing
  autoOrient: boolean
  jpegScaling: boolean
  limits: ImageLimits
  /** Whether failures name the image's position in the caller's array. */
  indexed: boolean
}

/** Memory for one output of all images of a call; allocated when its shape is known. */
export interface Output {
  images: number
  /** [H, W, C] */
  shape: Shape
  data: Float32Array | Int32Array
}

/** The outputs of a call, filled batch by batch. */
class Outputs {
  private outputs: Output[] | undefined

  constructor(
    private readonly method: string,
    private readonly images: number,
    private readonly request: Request,
  ) {}

  /** One view per output and image, for the images at `positions` of the call. */
  views(shapes: readonly Shape[], positions: readonly number[]): OutputView[][] {
    this.outputs ??= shapes.map((shape, i) => this.allocate(shape, this.request.outputs[i]))
    return this.outputs.map(({ shape, data }, i) => {
      const elements = size(shape)
      if (shape.join() !== shapes[i]?.join())
        throw this.differing(shape, shapes[i] as Shape, positions[0] as number)
      return positions.map((position) => data.subarray(position * elements, (position + 1) * elements))
    })
  }

  all(): Output[] {
    return this.outputs ?? []
  }

  private allocate(shape: Shape, node: string | undefined): Output {
    const { images, method } = this
    return { images, shape, data: allocateOutput({ method, node, images, shape, given: 'images' }) }
  }

  private differing(expected: Shape, received: Shape, index: number): Error {
    return invalidArgument(
      `${this.method}: expected images of one size, received maps of ${expected[0]}×${expected[1]} and, at index ` +
        `${index}, of ${received[0]}×${received[1]}; set preprocess.crop, or call once per size`,
      { index },
    )
  }
}

/** Runs a tensor [N, C, H, W] in batches of at most maxBatch, straight from its memory. */
export async function tensorBatches(x: Tensor, runner: BatchRunner & Turns): Promise<Output[]> {
  const { engine, request, signal, turn, method } = runner
  const { data, images, channels, height, width, dtype, layout } = asInput(x, runner)
  const outputs = new Outputs(method, images, request)
  const elements = channels * height * width
  for (const positions of slices(images, engine.options.maxBatch)) {
    const [first] = positions as [number]
    const pieces = [data.subarray(first * elements, (first + positions.length) * elements)]
    const input: BatchInput = { pieces, images: positions.length, height, width, dtype, layout }
    await turn(() => engine.run(input, request, (shapes) => outputs.views(shapes, positions), signal))
  }
  return outputs.all()
}

function asInput(x: Tensor, { method, engine }: BatchRunner) {
  const expected = engine.architecture.inChannels
  const [images = 0, channels = 0, height = 0, width = 0] = x.shape
  if (x.shape.length !== 4 || channels !== expected) {
    throw invalidArgument(
      `${method}: expected a tensor of shape [N, ${expected}, H, W], received [${x.shape.join(', ')}]` +
        (x.shape.length === 4 && x.shape[3] === expected
          ? "; shape is N, C, H, W for layout 'nhwc' too"
          : ''),
    )
  }
  if (x.dtype === 'int32') {
    throw invalidArgument(
      `${method}: expected a tensor of float32, float16, bfloat16 or uint8, received int32`,
    )
  }
  const dtype: BatchInput['dtype'] = x.dtype === 'uint8' ? 'uint8' : 'float32'
  const data = (dtype === 'uint8' ? x.data : x.toFloat32().data) as InputView
  return { data, images, channels, height, width, dtype, layout: x.layout }
}

/**
 * Decodes and runs images in batches of at most maxBatch; while one batch runs, the next is decoded. Images that differ
 * in size run apart.
 */
export async function imageBatches(
  images: readonly ImageInput[],
  runner: BatchRunner & Turns & ImageOptions,
): Promise<Output[]> {
  const { engine, request, method } = runner
  if (images.length === 0) throw invalidArgument(`${method}: expected at least one image, received []`)
  const outputs = new Outputs(method, images.length, request)
  // Stops the decoding of what nobody waits for once one image has failed.
  const over = new AbortController()
  const { signal } = over
  const stopListening = onAbort(runner.signal, () => over.abort(runner.signal?.reason))
  setMaxListeners(0, signal)
  const batches = slices(images.length, engine.options.maxBatch)
  const decode = async (positions: readonly number[] | undefined) =>
    Promise.all(
      (positions ?? []).map((index) => decodeOne(images[index] as ImageInput, index, { ...runner, signal })),
    )
  try {
    let decoding = decode(batches[0])
    for (const [batch, positions] of batches.entries()) {
      const decoded = await decoding
      decoding = decode(batches[batch + 1])
      // It is awaited in the next round; until then its failure is not unhandled.
      decoding.catch(() => {})
      for (const group of bySize(decoded)) await runGroup(group, positions, outputs, runner)
    }
  } finally {
    stopListening()
    over.abort()
  }
  return outputs.all()
}

async function decodeOne(
  image: ImageInput,
  index: number,
  { preprocessing, autoOrient, jpegScaling, limits, indexed, signal }: BatchRunner & ImageOptions,
): Promise<PreprocessedImage> {
  const options = { signal, autoOrient, jpegScaling, limits, ...(indexed ? { index } : {}) }
  return preprocess(image, preprocessing, options)
}

interface Group {
  height: number
  width: number
  /** Positions within the batch. */
  members: number[]
  pieces: Float32Array[]
}

function bySize(decoded: readonly PreprocessedImage[]): Group[] {
  const groups = new Map<string, Group>()
  for (const [member, { data, height, width }] of decoded.entries()) {
    const key = `${height}x${width}`
    const group = groups.get(key) ?? { height, width, members: [], pieces: [] }
    group.members.push(member)
    group.pieces.push(data)
    groups.set(key, group)
  }
  return [...groups.values()]
}

async function runGroup(
  { height, width, members, pieces }: Group,
  positions: readonly number[],
  outputs: Outputs,
  { engine, request, signal, turn }: BatchRunner & Turns,
): Promise<void> {
  const input: BatchInput = {
    pieces,
    images: members.length,
    height,
    width,
    dtype: 'float32',
    layout: 'nchw',
  }
  const places = members.map((member) => positions[member] as number)
  await turn(() => engine.run(input, request, (shapes) => outputs.views(shapes, places), signal))
}

/** 0 … count − 1 in runs of at most `length`. */
function slices(count: number, length: number): number[][] {
  return Array.from({ length: Math.ceil(count / length) }, (_, slice) =>
    Array.from({ length: Math.min(length, count - slice * length) }, (_, i) => slice * length + i),
  )
}

function size([h, w, c]: Shape): number {
  return h * w * c
}
