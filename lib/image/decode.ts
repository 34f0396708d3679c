import { availableParallelism } from 'node:os'
import sharp, { type Metadata, type Sharp, type SharpOptions } from 'sharp'
import type { ImageCall, JpegCall, Picture, PictureCall, PixelsCall } from '../../binding.js'
import { type Signal, Stop } from '../abort.js'
import { Gate } from '../batching/gate.js'
import { invalidArgument, ResNetError } from '../errors.js'
import { addon, native } from '../native/call.js'
import { type Extent, type Geometry, planGeometry } from './geometry.js'
import { isWhole, type JpegHeader, jpegLibrary, readJpegHeader } from './jpeg.js'
import { type ImageMemory, newImageArray } from './memory.js'
import {
  defaultImageLimits,
  describeImage,
  type ImageLimits,
  type ImageSource,
  readSource,
  sourceAtHand,
} from './source.js'
import type {
  ImageData,
  ImageForm,
  ImageInput,
  PreprocessedImage,
  Preprocessing,
  PreprocessOptions,
} from './types.js'

export interface DecodeOptions extends PreprocessOptions {
  /** Input channels of the network: 3 (RGB) or 1 (grey); must be the number of the preset's means, its default. */
  channels?: number
  /** Turn the image as its EXIF orientation says; default false, as PIL's open and torchvision do. */
  autoOrient?: boolean
  /** Decode a JPEG that shrinks threefold or more at half its size; default false. See ModelOptions. */
  jpegScaling?: boolean
  limits?: Partial<ImageLimits>
  /** What is made of the image; default 'float32'. */
  form?: ImageForm
  /** Whose images are bounded together, and how many are prepared at once; default: all without, as the addon says. */
  line?: ImageLine | undefined
  /** Where memory for what is made comes from; default: fresh. */
  memory?: ImageMemory | undefined
}

/** A line of images before the addon's threads; lines have numbers from 1 on. */
export interface ImageLine {
  line: number
  threads: number
}

interface Job {
  preset: Preprocessing
  limits: ImageLimits
  autoOrient: boolean
  jpegScaling: boolean
  form: ImageForm
  line: ImageLine | undefined
  memory: ImageMemory | undefined
  input: ImageInput
  index: number | undefined
  signal: Signal | undefined
}

/** 8-bit pixels as a decoder gives them: rows from the top, interleaved; 1 channel is grey, 3 RGB, 4 CMYK. */
interface Pixels extends Extent {
  data: Uint8Array
  channels: number
}

/**
 * Reads one image and makes it the network's input: decode, resize, centre crop, (x / 255 − mean) / std.
 *
 * What torchvision's preset makes of a PIL image after convert('RGB') (or 'L' for one channel), to the bit: ICC profiles
 * and EXIF orientation are ignored, alpha is dropped, of an animation the first frame counts, a crop larger than the
 * image is filled with zeros. 16-bit samples are divided by 256, where PIL clips grey ones. JPEGs are decoded by
 * libturbojpeg where it is installed, all else by sharp in its threads; the rest runs in the addon's threads for images.
 *
 * @param input A path, URL, encoded bytes, raw 8-bit pixels or a sharp instance.
 * @param preset `mean.length` is the number of channels, 1 or 3.
 * @returns data [C, H, W] float32, or of the form asked for; H and W are the preset's crop, or the image's resized size.
 * @throws ERR_RESNET_IMAGE (empty, not an image, damaged, too many pixels), ERR_RESNET_IO (cannot be read or
 * fetched), ERR_RESNET_INVALID_ARGUMENT; the signal's own reason when aborted.
 */
export function preprocess(
  input: ImageInput,
  preset: Preprocessing,
  options?: DecodeOptions & { form?: 'float32' },
): Promise<PreprocessedImage>
export function preprocess(
  input: ImageInput,
  preset: Preprocessing,
  options: DecodeOptions,
): Promise<PreprocessedImage<ImageData>>
export async function preprocess(
  input: ImageInput,
  preset: Preprocessing,
  options: DecodeOptions = {},
): Promise<PreprocessedImage<ImageData>> {
  const { signal, index, autoOrient = false, jpegScaling = false, form = 'float32', line, memory } = options
  signal?.throwIfAborted()
  checkChannels(preset, options)
  const limits =
    options.limits === undefined ? defaultImageLimits : { ...defaultImageLimits, ...options.limits }
  const source = sourceAtHand(input, { index }) ?? (await readSource(input, { limits, signal, index }))
  signal?.throwIfAborted()
  const job: Job = { preset, limits, autoOrient, jpegScaling, form, line, memory, input, index, signal }
  if (source.kind !== 'encoded') return preparePixels(await decode(source, job), job)
  // A copy: the caller may transfer or change its bytes meanwhile.
  const bytes = source.bytes === input ? new Uint8Array(source.bytes) : source.bytes
  const call = jpegCall(bytes, job)
  return (call && (await prepareJpeg(call, job))) ?? prepareOther(bytes, job)
}

function checkChannels({ mean, std }: Preprocessing, { channels = mean.length, index }: DecodeOptions): void {
  if (mean.length !== channels || std.length !== channels) {
    throw invalidArgument(
      `Expected ${channels} means and deviations in the preprocessing, one per input channel of the network, received ${mean.length} and ${std.length}.`,
      { index },
    )
  }
  if (channels !== 1 && channels !== 3) {
    throw invalidArgument(
      `Images feed networks of 1 or 3 input channels; this one has ${channels}. Pass a Tensor of shape [n, ${channels}, h, w].`,
      { index },
    )
  }
}

/** The preset's geometry on an image of this size, both within the limits. */
function planWithin(size: Extent, job: Job): Geometry {
  checkPixels(size, 'has', job)
  const geometry = planGeometry(size, job.preset)
  checkPixels(geometry.resized, 'would have after resizing', job)
  return geometry
}

/** What the addon needs to know of any image. (V8 takes kilobytes to spread an object of so many fields into another.) */
function imageCall({ width, height }: Extent, geometry: Geometry, job: Job): Begun<ImageCall> {
  const { interpolation, mean, std } = job.preset
  const { resized, cropped, x, y } = geometry
  return {
    width,
    height,
    resizedWidth: resized.width,
    resizedHeight: resized.height,
    interpolation,
    x,
    y,
    outputWidth: cropped.width,
    outputHeight: cropped.height,
    mean,
    std,
    line: job.line?.line,
    threads: job.line?.threads,
    output: undefined,
    control: undefined,
  }
}

/** A call whose output is not there yet, or will be a picture. */
type Begun<Call extends ImageCall> = PictureCall<Call> & { output: ImageCall['output'] | undefined }

/** Both ways in which the addon works on an image. */
interface Ways<Call> {
  /** Fills the output. */
  prepare(call: Call & Pick<ImageCall, 'output'>): Promise<void>
  /** Keeps what was decoded. */
  decode(call: Call): Promise<Picture>
}

async function prepared<Call extends Begun<ImageCall>>(
  call: Call,
  { signal, form, memory }: Job,
  { prepare, decode }: Ways<Call>,
): Promise<PreprocessedImage<ImageData>> {
  const { outputHeight: height, outputWidth: width, mean } = call
  const channels = mean.length
  let data: ImageData
  if (form === 'picture') {
    const picture = await native(signal, (control) => {
      call.control = control
      return decode(call)
    })
    if (signal?.aborted) picture.dispose()
    data = picture
  } else {
    const elements = channels * height * width
    const output = memory?.take(form, elements) ?? newImageArray(form, elements)
    call.output = output
    await native(signal, (control) => {
      call.control = control
      return prepare(call as Call & { output: typeof output })
    })
    data = output
  }
  signal?.throwIfAborted()
  return { data, height, width, channels }
}

/** For libturbojpeg; undefined when it is not for this file, which sharp then decodes, or refuses in its words. */
function jpegCall(bytes: Uint8Array, job: Job): Begun<JpegCall> | undefined {
  const header = isWhole(bytes) ? readJpegHeader(bytes) : undefined
  const library = header && !(job.autoOrient && header.hasExif) ? jpegLibrary().path : undefined
  if (header === undefined || library === undefined) return undefined
  const geometry = planWithin(header, job)
  return Object.assign(imageCall(header, geometry, job), {
    library,
    bytes,
    halved: job.jpegScaling && shrinksThreefold(header, geometry),
  })
}

/** undefined when libturbojpeg does not take the file, which sharp then decodes, or refuses in its words. */
async function prepareJpeg(
  call: Begun<JpegCall>,
  job: Job,
): Promise<PreprocessedImage<ImageData> | undefined> {
  const binding = addon()
  try {
    return await prepared<Begun<JpegCall>>(call, job, {
      prepare: binding.prepareJpeg,
      decode: binding.decodeJpeg,
    })
  } catch (error) {
    const { code } = error as Partial<ResNetError>
    if (code === 'ERR_RESNET_IMAGE' || code === 'ERR_RESNET_UNSUPPORTED') return undefined
    throw error
  }
}

/** So that after halving there is still something to average. */
function shrinksThreefold({ width, height }: JpegHeader, { resized }: Geometry): boolean {
  return resized.width * 3 <= width && resized.height * 3 <= height
}

async function preparePixels(image: Pixels, job: Job): Promise<PreprocessedImage<ImageData>> {
  const geometry = planWithin(image, job)
  const { data: pixels, channels } = image
  const call = Object.assign(imageCall(image, geometry, job), { pixels, channels })
  const binding = addon()
  return prepared<Begun<PixelsCall>>(call, job, {
    prepare: binding.preparePixels,
    decode: binding.decodePixels,
  })
}

/**
 * Pixels that sharp has decoded or decodes at once, those that wait for their resizing among them, of all models of the
 * thread: a few images as large as the limit would fill the memory otherwise. Small ones never wait for it.
 */
export const pixelGate = new Gate(
  Math.max(defaultImageLimits.maxPixels, availableParallelism() * 32 * 1024 * 1024),
)
let sequence = 0
const never = new Stop()

/** By sharp. */
async function prepareOther(bytes: Uint8Array, job: Job): Promise<PreprocessedImage<ImageData>> {
  const options: SharpOptions = {
    ignoreIcc: true,
    autoOrient: job.autoOrient,
    // Like PIL: a file cut short is an error, an oddity that decoders merely warn about is not.
    failOn: 'error',
    limitInputPixels: job.limits.maxPixels,
  }
  const header = await readHeader(bytes, options, job)
  planWithin(job.autoOrient ? header.autoOrient : header, job)
  const pixels = header.width * header.height
  await pixelGate.enter(pixels, { priority: 0, sequence: sequence++ }, job.signal ?? never)
  try {
    return await preparePixels(await decodeFile(sharp(bytes, options), header, job), job)
  } finally {
    pixelGate.leave(pixels)
  }
}

/** Pixels without alpha, in the image's own size. */
async function decodeFile(image: Sharp, header: Metadata, job: Job): Promise<Pixels> {
  if (header.hasAlpha) return withoutAlpha(image, job)
  // Kept as CMYK: libvips would convert through a colour profile, PIL does not.
  if (header.space === 'cmyk') image.pipelineColourspace('cmyk').toColourspace('cmyk')
  return toPixels(image, job)
}

/** The same of what is no file. */
async function decode(source: Exclude<ImageSource, { kind: 'encoded' }>, job: Job): Promise<Pixels> {
  if (source.kind === 'sharp') return withoutAlpha(source.sharp.clone(), job)
  const { data, width, height, channels } = source.pixels
  planWithin(source.pixels, job)
  // A copy: the caller may transfer or change its pixels meanwhile.
  if (channels === 1 || channels === 3) return { data: new Uint8Array(data), width, height, channels }
  return withoutAlpha(sharp(data, { raw: { width, height, channels }, limitInputPixels: false }), job)
}

/** sharp multiplies colours by alpha before it resizes, so alpha must be gone before. */
async function withoutAlpha(image: Sharp, job: Job): Promise<Pixels> {
  return toPixels(image.removeAlpha().toColourspace('srgb'), job)
}

async function readHeader(bytes: Uint8Array, options: SharpOptions, job: Job): Promise<Metadata> {
  try {
    return await sharp(bytes, { ...options, limitInputPixels: false }).metadata()
  } catch (cause) {
    job.signal?.throwIfAborted()
    throw new ResNetError(
      'ERR_RESNET_IMAGE',
      `Expected a JPEG, PNG, WebP, GIF, TIFF, AVIF or SVG image, but ${describeImage(job.input)} cannot be read as one: ${firstLine(cause)}.`,
      { cause, index: job.index },
    )
  }
}

/** Runs a pipeline in sharp's threads. */
async function toPixels(image: Sharp, { input, index, signal }: Job): Promise<Pixels> {
  try {
    const { data, info } = await image.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true })
    return { data, width: info.width, height: info.height, channels: info.channels }
  } catch (cause) {
    throw new ResNetError(
      'ERR_RESNET_IMAGE',
      `The image ${describeImage(input)} is damaged or cut short: ${firstLine(cause)}. Write or download it again.`,
      { cause, index },
    )
  } finally {
    // Takes the place of whatever went wrong too: an aborted call rejects with the signal's reason.
    signal?.throwIfAborted()
  }
}

function firstLine(cause: unknown): string {
  const [line = ''] = (cause instanceof Error ? cause.message : String(cause)).split('\n')
  return line.replace(/[.\s]+$/, '')
}

function checkPixels({ width, height }: Extent, verb: string, { limits, input, index }: Job): void {
  if (width * height <= limits.maxPixels) return
  throw new ResNetError(
    'ERR_RESNET_IMAGE',
    `The image ${describeImage(input)} ${verb} ${width} x ${height} pixels, more than maxPixels (${limits.maxPixels}). Raise that limit if this is right.`,
    { index },
  )
}
