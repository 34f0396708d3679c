import type { InputView, OutputView, Picture } from '../binding.js'
import type { Part, Slice } from './batching/part.js'
import type { Engine, EngineCall, Request } from './engine.js'
import { invalidArgument, ResNetError } from './errors.js'
import { preprocess } from './image/decode.js'
import type { ImageArray } from './image/memory.js'
import { type ImageLimits, isSharp } from './image/source.js'
import type { ImageInput, PreprocessedImage, Preprocessing } from './image/types.js'
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
/** Of a model. */
export interface ImageOptions {
  preprocessing: Preprocessing
  autoOrient: boolean
  jpegScaling: boolean
  limits: ImageLimits
}
export interface ImageRunner extends CallRunner {
  imageOptions: ImageOptions
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

  constructor(
    private readonly runner: CallRunner,
    private readonly images: number,
  ) {}

  /** One piece per output for `count` consecutive images of the call. */
  range(shapes: readonly Shape[], from: number, count: number): Piece[][] | Promise<Piece[][]> {
    const outputs = this.given(shapes, from)
    const pieces = (all: Output[]) => all.map((output) => [pieceOf(output, from, count)])
    return outputs instanceof Promise ? outputs.then(pieces) : pieces(outputs)
  }

  /** One piece per output and image, for the images at `positions` of the call. */
  each(shapes: readonly Shape[], positions: readonly number[]): Piece[][] | Promise<Piece[][]> {
    const outputs = this.given(shapes, positions[0] as number)
    const pieces = (all: Output[]) =>
      all.map((output) => positions.map((position) => pieceOf(output, position, 1)))
    return outputs instanceof Promise ? outputs.then(pieces) : pieces(outputs)
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

  /** All outputs, of these shapes; the images at `index` and behind have them. */
  private given(shapes: readonly Shape[], index: number): Output[] | Promise<Output[]> {
    // What is left of a failed call drops out of its batch.
    if (this.over) throw new ResNetError('ERR_RESNET_DISPOSED', `${this.runner.method}: the call has failed`)
    if (this.outputs === undefined) {
      this.outputs = this.allocateAll(shapes)
      return this.outputs
    }
    const { outputs } = this
    if (outputs instanceof Promise) return outputs.then((all) => this.checked(all, shapes, index))
    return this.checked(outputs, shapes, index)
  }

  private checked(outputs: Output[], shapes: readonly Shape[], index: number): Output[] {
    for (const [i, { shape }] of outputs.entries()) {
      if (!isSame(shape, shapes[i] as Shape)) throw this.differing(shape, shapes[i] as Shape, index)
    }
    return outputs
  }

  private allocateAll(shapes: readonly Shape[]): Output[] | Promise<Output[]> {
    const { images, runner } = this
    const { method, request, engine, output } = runner
    const wanted = shapes.map((shape, i) => {
      return { method, node: request.outputs[i], images, shape, given: 'images' }
    })
    const { lease } = engine
    if (output === 'device' && lease !== undefined) return this.allocateOn(lease, wanted)
    return wanted.map((one) => ({ images, shape: one.shape, data: allocateOutput(one) }))
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
      `${this.runner.method}: expected images of one size, received maps of ${expected[0]}×${expected[1]} and, at index ` +
        `${index}, of ${received[0]}×${received[1]}; set preprocess.crop, or call once per size`,
      { index },
    )
  }
}

/** The part of an output's memory that `count` images from `from` on fill. */
function pieceOf({ shape, data }: Output, from: number, count: number): Piece {
  const elements = size(shape)
  if (data instanceof DeviceStorage) return storedPiece(data, 4 * from * elements, 4 * count * elements)
  return partOf(data, from * elements, (from + count) * elements)
}

/** All of it is the view itself. */
function partOf<View extends InputView | OutputView>(view: View, from: number, to: number): View {
  return from === 0 && to === view.length ? view : (view.subarray(from, to) as View)
}

function part<T>(list: T[], from: number, to: number): T[] {
  return from === 0 && to === list.length ? list : list.slice(from, to)
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
    return (from, count) => partOf(data, from * elements, (from + count) * elements)
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
export async function imageOutputs(images: readonly ImageInput[], runner: ImageRunner): Promise<Output[]> {
  const { engine, method } = runner
  const { length } = images
  if (length === 0) throw invalidArgument(`${method}: expected at least one image, received []`)
  const outputs = new Outputs(runner, length)
  try {
    if (length <= engine.options.maxBatch)
      await decodeAndRun({ images, from: 0, to: length, outputs }, runner)
    else await inSlices(images, outputs, runner)
  } catch (error) {
    await outputs.dispose()
    throw error
  }
  return outputs.all()
}

async function inSlices(images: readonly ImageInput[], outputs: Outputs, runner: ImageRunner): Promise<void> {
  const { shape, maxBatch } = runner.engine.options
  const underWay = new Set<Promise<void>>()
  for (let from = 0; from < images.length; from += maxBatch) {
    // One for every lane and one that is decoded meanwhile.
    while (underWay.size > shape.lanes) await Promise.race(underWay)
    const slice = { images, from, to: Math.min(from + maxBatch, images.length), outputs }
    // One that fails stays: it may do so in the same turn as another ends, and nobody would hear of it.
    const work = decodeAndRun(slice, runner).then(() => void underWay.delete(work))
    underWay.add(work)
    // It is awaited below; until then its failure is not unhandled.
    work.catch(() => {})
  }
  await Promise.all(underWay)
}

/** Whether the bytes are here or on a disk: an address or a stream may keep one waiting for as long as it likes. */
export function isAtHand(image: ImageInput): boolean {
  if (image instanceof URL) return !/^https?:$/.test(image.protocol)
  return !isSharp(image)
}

/** Images [from, to) of a call, decoded together. */
interface CallSlice {
  images: readonly ImageInput[]
  from: number
  to: number
  outputs: Outputs
}

async function decodeAndRun(slice: CallSlice, runner: ImageRunner): Promise<void> {
  const { images, from, to, outputs } = slice
  const { call, engine } = runner
  const inside = new Inside(engine)
  const pictures = new Pictures()
  try {
    let gated = 0
    for (let index = from; index < to; ++index) if (isAtHand(images[index] as ImageInput)) ++gated
    const decode = (index: number) => decodeOne(images[index] as ImageInput, index, pictures, runner)
    // Those that somebody else keeps waiting come first: inside the gate the others would keep everybody out meanwhile.
    const isMixed = gated > 0 && gated < to - from
    const early = isMixed ? await decodeEarly(slice, decode) : undefined
    const begun = performance.now()
    if (gated > 0 && !engine.gate.tryEnter(gated)) await engine.gate.enter(gated, call.place, call.signal)
    inside.enter(gated)
    const waitedMs = performance.now() - begun
    const decodeAt = (index: number) => early?.[index - from] ?? decode(index)
    // Of one, Promise.all is most of the work.
    const alone = to - from === 1
    const decoded = alone ? [await decodeAt(from)] : await Promise.all(range(from, to).map(decodeAt))
    inside.decoded()
    const groups = bySize(decoded, { first: from, outputs, inside, waitedMs })
    if (groups.length === 1) await groups[0]?.run(runner)
    else await Promise.all(groups.map((group) => group.run(runner)))
    // No batch has them any more. After a failure one may: then they are left to the garbage collector.
    for (const { data } of decoded) if (ArrayBuffer.isView(data)) engine.imageMemory.give(data)
  } finally {
    inside.decoded()
    inside.leave(inside.images)
    pictures.dispose()
  }
}

/** Those of the images that are not at hand; the places of the others are empty. */
function decodeEarly(
  { images, from, to }: CallSlice,
  decode: (index: number) => Promise<Decoded>,
): Promise<(Decoded | undefined)[]> {
  return Promise.all(
    range(from, to).map((index) => (isAtHand(images[index] as ImageInput) ? undefined : decode(index))),
  )
}

/** from … to − 1 */
function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i)
}

/** How many of a slice's images are inside the engine's gate, and of those how many are not decoded yet. */
class Inside {
  images = 0
  private preparing = 0

  constructor(private readonly engine: Engine) {}

  enter(images: number): void {
    this.images = images
    this.preparing = images
    this.engine.preparing += images
  }

  /** All are, or nobody wants them any more. Idempotent. */
  decoded(): void {
    this.engine.preparing -= this.preparing
    this.preparing = 0
  }

  leave(images: number): void {
    const leaving = Math.min(images, this.images)
    this.images -= leaving
    if (leaving > 0) this.engine.gate.leave(leaving)
  }
}

type Decoded = PreprocessedImage<ImageArray | StoredPicture>

/** Decoded images that are native: freed when the call is done with them, and no batch runs them. */
class Pictures {
  private kept: StoredPicture[] | undefined
  private over = false

  keep(picture: Picture): StoredPicture {
    const stored = new StoredPicture(picture)
    this.kept ??= []
    this.kept.push(stored)
    // One that is decoded after another has failed.
    if (this.over) stored.dispose()
    return stored
  }

  dispose(): void {
    this.over = true
    for (const picture of this.kept ?? []) picture.dispose()
  }
}

async function decodeOne(
  image: ImageInput,
  index: number,
  pictures: Pictures,
  { imageOptions, indexed, call, engine }: ImageRunner,
): Promise<Decoded> {
  const { preprocessing, autoOrient, jpegScaling, limits } = imageOptions
  const { form, imageLine: line, imageMemory: memory } = engine
  const begun = performance.now()
  const decoded = await preprocess(image, preprocessing, {
    signal: call.signal,
    index: indexed ? index : undefined,
    autoOrient,
    jpegScaling,
    limits,
    form,
    line,
    memory,
  })
  engine.recorder.decoded(performance.now() - begun)
  const { data } = decoded
  return ArrayBuffer.isView(data) ? (decoded as Decoded) : { ...decoded, data: pictures.keep(data) }
}

/** What the groups of some decoded images have in common. */
interface Together {
  /** Where they begin in the caller's array. */
  first: number
  outputs: Outputs
  inside: Inside
  /** At the gate. */
  waitedMs: number
}

/** Decoded images of one size. */
class Group implements Part {
  readonly height: number
  readonly width: number
  /** In the caller's array. */
  private readonly positions: number[]
  private readonly pieces: Slice['pieces']

  constructor(
    { data, height, width }: Decoded,
    position: number,
    private readonly together: Together,
  ) {
    this.height = height
    this.width = width
    this.positions = [position]
    this.pieces = [data]
  }

  add({ data }: Decoded, position: number): void {
    this.positions.push(position)
    this.pieces.push(data)
  }

  get images(): number {
    return this.pieces.length
  }

  get waitedMs(): number {
    return this.together.waitedMs
  }

  run({ engine, request, call }: CallRunner): Promise<void> {
    return call.submit(engine.kindOf(engine.imagesOf(this.height, this.width), request), this)
  }

  slice(from: number, count: number): Slice {
    const { inside, outputs } = this.together
    inside.leave(count)
    const positions = part(this.positions, from, from + count)
    return {
      pieces: part(this.pieces, from, from + count),
      outputs: (shapes) => outputs.each(shapes, positions),
    }
  }
}

function bySize(decoded: readonly Decoded[], together: Together): Group[] {
  const groups: Group[] = []
  let position = together.first
  for (const image of decoded) {
    const { height, width } = image
    const group = groups.find((known) => known.height === height && known.width === width)
    if (group === undefined) groups.push(new Group(image, position, together))
    else group.add(image, position)
    ++position
  }
  return groups
}

function size([h, w, c]: Shape): number {
  return h * w * c
}

function isSame(a: Shape, b: Shape): boolean {
  return a[0] === b[0] && a[1] === b[1] && a[2] === b[2]
}
