import sharp, { type Metadata, type Sharp, type SharpOptions } from 'sharp'
import { invalidArgument, ResNetError } from '../errors.js'
import { convertColours } from './colour.js'
import { type Extent, type Geometry, planGeometry } from './geometry.js'
import { type Pixels, resample, resampleWork } from './resample.js'
import {
  defaultImageLimits,
  describeImage,
  type ImageLimits,
  type ImageSource,
  readSource,
} from './source.js'
import { rowByRow } from './turns.js'
import type { ImageInput, PreprocessedImage, Preprocessing, PreprocessOptions } from './types.js'

export interface DecodeOptions extends PreprocessOptions {
  /** Input channels of the network: 3 (RGB) or 1 (grey); must be the number of the preset's means, its default. */
  channels?: number
  /** Turn the image as its EXIF orientation says; default false, as PIL's open and torchvision do. */
  autoOrient?: boolean
  limits?: Partial<ImageLimits>
}

interface Job {
  preset: Preprocessing
  limits: ImageLimits
  autoOrient: boolean
  name: string
  index?: number
  signal?: AbortSignal
}

/** Multiply-adds that are done here rather than by libvips: below a millisecond's worth. */
const smallWork = 1 << 18

/**
 * Reads one image and makes it the network's input: decode, resize, centre crop, (x / 255 − mean) / std.
 *
 * Sizes, offsets and colours are those of torchvision's preset on a PIL image after convert('RGB') (or 'L' for one
 * channel): ICC profiles and EXIF orientation are ignored, alpha is dropped, of an animation the first frame counts,
 * a crop larger than the image is filled with zeros. 16-bit samples are divided by 256, where PIL clips grey ones.
 * Decoding and resizing run in sharp's threads.
 *
 * @param input A path, URL, encoded bytes, raw 8-bit pixels or a sharp instance.
 * @param preset `mean.length` is the number of channels, 1 or 3.
 * @returns data [C, H, W] float32; H and W are the preset's crop, or the image's resized size.
 * @throws ERR_RESNET_IMAGE (empty, not an image, damaged, too many pixels), ERR_RESNET_IO (cannot be read or
 * fetched), ERR_RESNET_INVALID_ARGUMENT; the signal's own reason when aborted.
 */
export async function preprocess(
  input: ImageInput,
  preset: Preprocessing,
  options: DecodeOptions = {},
): Promise<PreprocessedImage> {
  const { signal, index, autoOrient = false } = options
  signal?.throwIfAborted()
  checkChannels(preset, options)
  const limits = { ...defaultImageLimits, ...options.limits }
  const source = await readSource(input, { limits, signal, index })
  signal?.throwIfAborted()
  const job: Job = { preset, limits, autoOrient, name: describeImage(input), index, signal }
  const { pixels, geometry } = await decode(source, job)
  return normalise(pixels, geometry, job)
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

async function decode(source: ImageSource, job: Job): Promise<{ pixels: Pixels; geometry: Geometry }> {
  const opened = await open(source, job)
  const { width, height } = opened
  checkPixels(width, height, 'has', job)
  const geometry = planGeometry({ width, height }, job.preset)
  checkPixels(geometry.resized.width, geometry.resized.height, 'would have after resizing', job)
  const pixels = await shape(opened.image, { width, height }, geometry, job)
  job.signal?.throwIfAborted()
  return { pixels, geometry }
}

/** An image without alpha, and its size before resizing. */
async function open(source: ImageSource, job: Job): Promise<{ image: Sharp; width: number; height: number }> {
  if (source.kind === 'sharp') return withoutAlpha(source.sharp.clone(), job)
  if (source.kind === 'raw') {
    const { data, width, height, channels } = source.pixels
    const image = sharp(data, { raw: { width, height, channels }, limitInputPixels: false })
    if (channels === 1 || channels === 3) return { image, width, height }
    checkPixels(width, height, 'has', job)
    return withoutAlpha(image, job)
  }
  const options: SharpOptions = {
    ignoreIcc: true,
    autoOrient: job.autoOrient,
    // Like PIL: a file cut short is an error, an oddity that decoders merely warn about is not.
    failOn: 'error',
    limitInputPixels: job.limits.maxPixels,
  }
  const header = await readHeader(source.bytes, options, job)
  const { width, height } = job.autoOrient ? header.autoOrient : header
  checkPixels(width, height, 'has', job)
  const image = sharp(source.bytes, options)
  if (header.hasAlpha) return withoutAlpha(image, job)
  // Kept as CMYK until after the crop: libvips would convert through a colour profile, PIL does not.
  if (header.space === 'cmyk') image.pipelineColourspace('cmyk').toColourspace('cmyk')
  return { image, width, height }
}

/** sharp multiplies colours by alpha before it resizes, so alpha must be gone before. */
async function withoutAlpha(
  image: Sharp,
  job: Job,
): Promise<{ image: Sharp; width: number; height: number }> {
  const pixels = await toPixels(image.removeAlpha().toColourspace('srgb'), job)
  const { data, width, height } = pixels
  const channels = pixels.channels as 1 | 3
  return { image: sharp(data, { raw: { width, height, channels }, limitInputPixels: false }), width, height }
}

async function readHeader(bytes: Uint8Array, options: SharpOptions, job: Job): Promise<Metadata> {
  try {
    return await sharp(bytes, { ...options, limitInputPixels: false }).metadata()
  } catch (cause) {
    job.signal?.throwIfAborted()
    throw new ResNetError(
      'ERR_RESNET_IMAGE',
      `Expected a JPEG, PNG, WebP, GIF, TIFF, AVIF or SVG image, but ${job.name} cannot be read as one: ${firstLine(cause)}.`,
      { cause, index: job.index },
    )
  }
}

/** Runs a pipeline in sharp's threads. */
async function toPixels(image: Sharp, { name, index, signal }: Job): Promise<Pixels> {
  try {
    const { data, info } = await image.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true })
    return { data, width: info.width, height: info.height, channels: info.channels }
  } catch (cause) {
    throw new ResNetError(
      'ERR_RESNET_IMAGE',
      `The image ${name} is damaged or cut short: ${firstLine(cause)}. Write or download it again.`,
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

function checkPixels(width: number, height: number, verb: string, { limits, name, index }: Job): void {
  if (width * height <= limits.maxPixels) return
  throw new ResNetError(
    'ERR_RESNET_IMAGE',
    `The image ${name} ${verb} ${width} x ${height} pixels, more than maxPixels (${limits.maxPixels}). Raise that limit if this is right.`,
    { index },
  )
}

/**
 * Resizes to the exact size, then cuts the window out: the other order changes the pixels at its border.
 *
 * libvips shrinks, in its own threads, to within a level on average of Pillow; when it enlarges it centres pixels
 * differently and is several levels off. So what enlarges is resampled here, exactly, and what is small too.
 */
async function shape(image: Sharp, size: Extent, geometry: Geometry, job: Job): Promise<Pixels> {
  const { resized, x, y } = geometry
  const { interpolation } = job.preset
  const channels = job.preset.mean.length
  const enlarges = resized.width > size.width || resized.height > size.height
  const resizes = resized.width !== size.width || resized.height !== size.height
  if (enlarges || (resizes && resampleWork(size, geometry, interpolation) <= smallWork)) {
    const pixels = await convertColours(await toPixels(image, job), channels, job.signal)
    return resample(pixels, geometry, interpolation, job.signal)
  }
  if (resizes) {
    image.resize(resized.width, resized.height, {
      fit: 'fill',
      kernel: interpolation === 'bilinear' ? 'linear' : 'cubic',
      // Halving while decoding a JPEG is quicker, and up to 16 levels off.
      fastShrinkOnLoad: false,
    })
  }
  if (x.length !== resized.width || y.length !== resized.height) {
    image.extract({ left: x.from, top: y.from, width: x.length, height: y.length })
  }
  return convertColours(await toPixels(image, job), channels, job.signal)
}

/** [H, W, channels] 8-bit → [C, H, W] float32, zeros (before normalising) around a window larger than the image. */
async function normalise(pixels: Pixels, geometry: Geometry, job: Job): Promise<PreprocessedImage> {
  const { width, height } = geometry.cropped
  const channels = job.preset.mean.length
  const tables = job.preset.mean.map((mean, c) => normalisingTable(mean, job.preset.std[c] as number))
  const data = new Float32Array(channels * height * width)
  if (pixels.width !== width || pixels.height !== height) {
    tables.forEach((table, c) => {
      data.fill(table[0] as number, c * height * width, (c + 1) * height * width)
    })
  }
  const fill = (row: number) => {
    const offset = (geometry.y.to + row) * width + geometry.x.to
    normaliseRow(pixels, row, data, offset, height * width, tables)
  }
  await rowByRow(pixels.height, pixels.width * channels, fill, job.signal)
  return { data, height, width, channels }
}

/** What each of the 256 levels becomes, rounded to float32 after every operation as PyTorch does. */
function normalisingTable(mean: number, std: number): Float32Array {
  const { fround } = Math
  return Float32Array.from({ length: 256 }, (_, level) =>
    fround(fround(fround(level / 255) - fround(mean)) / fround(std)),
  )
}

function normaliseRow(
  { data, width, channels }: Pixels,
  row: number,
  target: Float32Array,
  offset: number,
  plane: number,
  tables: Float32Array[],
): void {
  tables.forEach((table, c) => {
    // A grey image gives all channels of the network the same levels.
    let from = row * width * channels + (channels === 1 ? 0 : c)
    const start = c * plane + offset
    for (let to = start; to < start + width; to += 1, from += channels) {
      target[to] = table[data[from] as number] as number
    }
  })
}
