import type { InputView, OutputView, Picture } from '../binding.js'
import type { Slice } from './batching/part.js'
import type { Engine, EngineCall, Request } from './engine.js'
import { invalidArgument, ResNetError } from './errors.js'
import { preprocess } from './image/decode.js'
import { type ImageLimits, isSharp } from './image/source.js'
import type { ImageData, ImageInput, PreprocessedImage, Preprocessing } from './image/types.js'
import { native } from './native/call.js'
import { DeviceStorage, StoredPicture, type StoredPiece, storedPiece } from './native/storage.js'
import { allocateOutput, elementsOfOutput, type Shape } from './outputs.js'
import { type AnyTensor, objectOf } from './tensor.js'

export interface CallRunner {
  /** What messages begin with: 'classify'. */
  method: string
  engine: Engine
  request: Request
  call: EngineCall
  /** Where results go. */
  output: 'host' | 'device'
}
export interface ImageOptions {
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
  data: Float32Array | Int32Array | DeviceStorage
}
export interface HostOutput extends Output {
  data: Float32Array | Int32Array
}

type Piece = OutputView | StoredPiece

/** The outputs of a call, filled batch by batch. Memory of the host is there at once, a device's has to be awaited. */
class Outputs {
  private outputs: Output[] | Promise<Output[]> | undefined
  private over = false
  private readonly method: string
  private readonly request: Request
  private readonly lease: Engine['lease']

  constructor(
    { method, request, engine, output }: CallRunner,
    private readonly images: number,
  ) {
    this.method = method
    this.request = request
    this.lease = output === 'device' ? engine.lease : undefined
  }

  /** One piece per output for `count` consecutive images of the call. */
  range(shapes: readonly Shape[], from: number, count: number): Piece[][] | Promise<Piece[][]> {
    return this.pieces(shapes, from, (output) => [pieceOf(output, from, count)])
  }

  /** One piece per output and image, for the images at `positions` of the call. */
  each(shapes: readonly Shape[], positions: readonly number[]): Piece[][] | Promise<Piece[][]> {
    return this.pieces(shapes, positions[0] as number, (output) =>
      positions.map((position) => pieceOf(output, position, 1)),
    )
  }

  all(): Output[] | Promise<Output[]> {
    return this.outputs ?? []
  }

  /** The call has failed: a device's memory does not wait for the garbage collector. */
  async dispose(): Promise<void> {
    this.over = true
    if (!(this.outputs instanceof Promise)) return
    for (const { data } of await this.outputs.catch(() => [])) {
      if (data instanceof DeviceStorage) data.dispose()
    }
  }

  private pieces(
    shapes: readonly Shape[],
    index: number,
    piecesOf: (output: Output) => Piece[],
  ): Piece[][] | Promise<Piece[][]> {
    // What is left of a failed call drops out of its batch.
    if (this.over) throw new ResNetError('ERR_RESNET_DISPOSED', `${this.method}: the call has failed`)
    this.outputs ??= this.allocateAll(shapes)
    const given = (outputs: Output[]) => {
      for (const [i, { shape }] of outputs.entries()) {
        if (!isSame(shape, shapes[i] as Shape)) throw this.differing(shape, shapes[i] as Shape, index)
      }
      return outputs.map(piecesOf)
    }
    return this.outputs instanceof Promise ? this.outputs.then(given) : given(this.outputs)
  }

  private allocateAll(shapes: readonly Shape[]): Output[] | Promise<Output[]> {
    const wanted = (shape: Shape, i: number) => ({
      method: this.method,
      node: this.request.outputs[i],
      images: this.images,
      shape,
      given: 'images',
    })
    const { images, lease } = this
    if (lease !== undefined) return this.allocateOn(lease, shapes.map(wanted))
    return shapes.map((shape, i) => ({ images, shape, data: allocateOutput(wanted(shape, i)) }))
  }

  private async allocateOn(
    { device, name }: NonNullable<Engine['lease']>,
    wanted: Parameters<typeof elementsOfOutput>[0][],
  ): Promise<Output[]> {
    const made = await Promise.allSettled(
      wanted.map(async (request): Promise<Output> => {
        const bytes = 4 * elementsOfOutput(request)
        const memory = await native(undefined, () => device.allocate({ bytes }))
        return { images: request.images, shape: request.shape, data: new DeviceStorage(memory, name) }
      }),
    )
    const outputs = made.flatMap((output) => (output.status === 'fulfilled' ? [output.value] : []))
    const failed = made.find((output) => output.status === 'rejected')
    if (failed === undefined) return outputs
    for (const { data } of outputs) if (data instanceof DeviceStorage) data.dispose()
    throw failed.reason
  }

  private differing(expected: Shape, received: Shape, index: number): Error {
    return invalidArgument(
      `${this.method}: expected images of one size, received maps of ${expected[0]}×${expected[1]} and, at index ` +
        `${index}, of ${received[0]}×${received[1]}; set preprocess.crop, or call once per size`,
      { index },
    )
  }
}

/** The part of an output's memory that `count` images from `from` on fill. */
function pieceOf({ shape, data }: Output, from: number, count: number): Piece {
  const elements = size(shape)
  if (data instanceof DeviceStorage) return storedPiece(data, 4 * from * elements, 4 * count * elements)
  return part(data, from * elements, (from + count) * elements)
}

/** All of it is the view itself. */
function part<View extends InputView | OutputView>(view: View, from: number, to: number): View {
  return from === 0 && to === view.length ? view : (view.subarray(from, to) as View)
}

/** Runs a tensor [N, C, H, W] straight from its memory. */
export async function tensorOutputs(x: AnyTensor, runner: CallRunner): Promise<Output[]> {
  const { engine, request, call } = runner
  const { pieceAt, images, height, width, dtype, layout } = asInput(x, runner)
  const outputs = new Outputs(runner, images)
  const release = objectOf(x).hold()
  try {
    await call.submit(engine.kindOf({ height, width, dtype, layout }, request), {
      images,
      slice: (from, count) => ({
        pieces: [pieceAt(from, count)],
        outputs: (shapes) => outputs.range(shapes, from, count),
      }),
    })
  } catch (error) {
    await outputs.dispose()
    throw error
  } finally {
    release()
  }
  return outputs.all()
}

function asInput(x: AnyTensor, { method, engine }: CallRunner) {
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
  const { dtype } = x
  if (dtype === 'int32') {
    throw invalidArgument(
      `${method}: expected a tensor of float32, float16, bfloat16 or uint8, received int32`,
    )
  }
  const pieceAt = pieces(x, channels * height * width, method, engine)
  return { pieceAt, images, height, width, dtype, layout: x.layout }
}

/** Gives the memory of consecutive images of a tensor. */
function pieces(
  x: AnyTensor,
  elements: number,
  method: string,
  { lease }: Engine,
): (from: number, count: number) => InputView | StoredPiece {
  if (x.device === 'cpu') {
    const data = x.data as InputView
    return (from, count) => part(data, from * elements, (from + count) * elements)
  }
  if (x.device !== lease?.name) {
    throw invalidArgument(
      `${method}: expected a tensor on the CPU${lease === undefined ? '' : ` or on ${lease.name}`}, received one on ` +
        `${x.device}; await tensor.to('cpu') copies it`,
    )
  }
  return (from, count) => objectOf(x).piece(from * elements, count * elements)
}

/**
 * Decodes and runs images; while some run, the next are decoded, a batch's worth at a time, so that what one call is
 * given runs in the same batches every time as long as it is alone. Images that differ in size run apart.
 */
export async function imageOutputs(
  images: readonly ImageInput[],
  runner: CallRunner & ImageOptions,
): Promise<Output[]> {
  const { engine, method } = runner
  if (images.length === 0) throw invalidArgument(`${method}: expected at least one image, received []`)
  const outputs = new Outputs(runner, images.length)
  const { lanes, maxBatch } = engine.options
  const underWay = new Set<Promise<void>>()
  try {
    for (const positions of slices(images.length, maxBatch)) {
      // One for every lane and one that is decoded meanwhile.
      while (underWay.size > lanes) await Promise.race(underWay)
      const work = decodeAndRun(images, positions, outputs, runner).finally(() => underWay.delete(work))
      underWay.add(work)
      // It is awaited below; until then its failure is not unhandled.
      work.catch(() => {})
    }
    await Promise.all(underWay)
  } catch (error) {
    await outputs.dispose()
    throw error
  }
  return outputs.all()
}

/** Whether the bytes are here or on a disk: an address or a stream may keep one waiting for as long as it likes. */
export function isAtHand(image: ImageInput): boolean {
  if (image instanceof URL) return !/^https?:$/.test(image.protocol)
  return !isSharp(image)
}

async function decodeAndRun(
  images: readonly ImageInput[],
  positions: readonly number[],
  outputs: Outputs,
  runner: CallRunner & ImageOptions,
): Promise<void> {
  const { call, engine } = runner
  const { gate } = engine
  const gated = positions.filter((index) => isAtHand(images[index] as ImageInput)).length
  const pictures = new Pictures()
  let inside = 0
  const leave = (count: number) => {
    const leaving = Math.min(count, inside)
    inside -= leaving
    gate.leave(leaving)
  }
  try {
    const begun = performance.now()
    if (gated > 0) await gate.enter(gated, call.place, call.signal)
    inside = gated
    const slice = { positions, outputs, started: leave, waitedMs: performance.now() - begun }
    const decoded = await Promise.all(
      positions.map(async (index) => {
        const { data, ...image } = await decodeOne(images[index] as ImageInput, index, runner)
        return { ...image, data: pictures.keep(data) }
      }),
    )
    await Promise.all(bySize(decoded).map((group) => runGroup(group, slice, runner)))
  } finally {
    leave(inside)
    pictures.dispose()
  }
}

/** Decoded images that are native: freed when the call is done with them, and no batch runs them. */
class Pictures {
  private readonly kept: StoredPicture[] = []
  private over = false

  keep(data: ImageData): Exclude<ImageData, Picture> | StoredPicture {
    if (ArrayBuffer.isView(data)) return data
    const picture = new StoredPicture(data)
    this.kept.push(picture)
    // One that is decoded after another has failed.
    if (this.over) picture.dispose()
    return picture
  }

  dispose(): void {
    this.over = true
    for (const picture of this.kept) picture.dispose()
  }
}

async function decodeOne(
  image: ImageInput,
  index: number,
  { preprocessing, autoOrient, jpegScaling, limits, indexed, call, engine }: CallRunner & ImageOptions,
): Promise<PreprocessedImage<ImageData>> {
  const { form, imageLine: line } = engine
  const options = {
    signal: call.signal,
    autoOrient,
    jpegScaling,
    limits,
    form,
    line,
    ...(indexed ? { index } : {}),
  }
  const begun = performance.now()
  const decoded = await preprocess(image, preprocessing, options)
  engine.recorder.decoded(performance.now() - begun)
  return decoded
}

/** What the groups of some decoded images have in common. */
interface Decoded {
  /** In the caller's array. */
  positions: readonly number[]
  outputs: Outputs
  /** Told how many images a batch has taken. */
  started(images: number): void
  /** At the gate. */
  waitedMs: number
}

interface Group {
  height: number
  width: number
  /** Positions within the batch. */
  members: number[]
  pieces: Slice['pieces']
}

function bySize(decoded: readonly PreprocessedImage<Slice['pieces'][number]>[]): Group[] {
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
  { positions, outputs, started, waitedMs }: Decoded,
  { engine, request, call }: CallRunner,
): Promise<void> {
  const places = members.map((member) => positions[member] as number)
  await call.submit(engine.kindOf(engine.imagesOf(height, width), request), {
    images: members.length,
    waitedMs,
    slice: (from, count) => {
      started(count)
      return {
        pieces: pieces.slice(from, from + count),
        outputs: (shapes) => outputs.each(shapes, places.slice(from, from + count)),
      }
    },
  })
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

function isSame(a: Shape, b: Shape): boolean {
  return a[0] === b[0] && a[1] === b[1] && a[2] === b[2]
}
