import type { Extent, Geometry, Window } from './geometry.js'
import { rowByRow } from './turns.js'
import type { Preprocessing } from './types.js'

/** 8-bit pixels, rows from the top, interleaved. */
export interface Pixels {
  data: Uint8Array | Uint8ClampedArray
  width: number
  height: number
  /** 1: grey, 3: RGB, 4: CMYK (only as it comes from the decoder). */
  channels: number
}

/** For each output position, the first input position and its weights in fixed point. */
interface Taps {
  first: Int32Array
  count: Int32Array
  weights: Int32Array
  stride: number
}

/** Bits after the binary point: what 8-bit pixels and an int32 sum with negative lobes leave, as in Pillow. */
const precision = 22
const filters: Record<Preprocessing['interpolation'], { support: number; weight: (x: number) => number }> = {
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  // Keys' cubic with a = −0.5
  bicubic: {
    support: 2,
    weight: (x) => {
      const t = Math.abs(x)
      if (t < 1) return (1.5 * t - 2.5) * t * t + 1
      return t < 2 ? ((-0.5 * t + 2.5) * t - 4) * t + 2 : 0
    },
  },
}

/** Multiply-adds that resampling takes: those of the first pass over all rows and of the second over the window. */
export function resampleWork(
  image: Extent,
  { resized, x, y }: Geometry,
  interpolation: Preprocessing['interpolation'],
): number {
  const { support } = filters[interpolation]
  const tapCount = (from: number, to: number) => Math.ceil(support * Math.max(from / to, 1)) * 2
  const across = image.height * x.length * tapCount(image.width, resized.width)
  return 3 * (across + y.length * x.length * tapCount(image.height, resized.height))
}

/**
 * The window of an image resized as Pillow's Image.resize does, bit for bit: two passes, each rounded to 8 bits.
 * Yields to the event loop about every millisecond.
 */
export async function resample(
  pixels: Pixels,
  { resized, x, y }: Geometry,
  interpolation: Preprocessing['interpolation'],
  signal?: AbortSignal,
): Promise<Pixels> {
  const across = taps(pixels.width, resized.width, x, interpolation)
  const down = taps(pixels.height, resized.height, y, interpolation)
  // Pillow 13 starts with the direction that shrinks the image most; the order shows in the rounding.
  const shrinkY = pixels.height - resized.height
  const verticalFirst = shrinkY > 0 && shrinkY > 2 * (pixels.width - resized.width)
  return verticalFirst
    ? resampleRows(await resampleColumns(pixels, down, signal), across, signal)
    : resampleColumns(await resampleRows(pixels, across, signal), down, signal)
}

function taps(from: number, to: number, window: Window, interpolation: Preprocessing['interpolation']): Taps {
  const { support, weight } = filters[interpolation]
  const scale = from / to
  const widened = Math.max(scale, 1)
  const reach = support * widened
  const stride = Math.ceil(reach) * 2 + 1
  const first = new Int32Array(window.length)
  const count = new Int32Array(window.length)
  const weights = new Int32Array(window.length * stride)
  for (let i = 0; i < window.length; i += 1) {
    const centre = (window.from + i + 0.5) * scale
    const start = Math.max(Math.trunc(centre - reach + 0.5), 0)
    const end = Math.min(Math.trunc(centre + reach + 0.5), from)
    const exact = Array.from({ length: end - start }, (_, n) =>
      weight((start + n - centre + 0.5) * (1 / widened)),
    )
    const sum = exact.reduce((total, w) => total + w, 0)
    first[i] = start
    count[i] = end - start
    exact.forEach((w, n) => {
      const scaled = (w / sum) * (1 << precision)
      weights[i * stride + n] = Math.trunc(scaled + (w < 0 ? -0.5 : 0.5))
    })
  }
  return { first, count, weights, stride }
}

/** Every row becomes as long as there are taps. */
async function resampleRows(source: Pixels, across: Taps, signal?: AbortSignal): Promise<Pixels> {
  const { width, height, channels } = source
  const target = blank(across.first.length, height, channels)
  const fill = (row: number) => {
    for (let x = 0; x < target.width; x += 1) {
      const from = (row * width + (across.first[x] as number)) * channels
      const to = (row * target.width + x) * channels
      for (let c = 0; c < channels; c += 1) {
        target.data[to + c] = weighted(source.data, from + c, channels, across, x)
      }
    }
  }
  await rowByRow(height, target.width * channels * across.stride, fill, signal)
  return target
}

/** There are as many rows as taps then. */
async function resampleColumns(source: Pixels, down: Taps, signal?: AbortSignal): Promise<Pixels> {
  const { width, channels } = source
  const target = blank(width, down.first.length, channels)
  const pitch = width * channels
  const fill = (row: number) => {
    const from = (down.first[row] as number) * pitch
    for (let at = 0; at < pitch; at += 1) {
      target.data[row * pitch + at] = weighted(source.data, from + at, pitch, down, row)
    }
  }
  await rowByRow(target.height, pitch * down.stride, fill, signal)
  return target
}

function blank(width: number, height: number, channels: number): Pixels {
  // Clamped: a cubic's lobes reach beyond 0..255.
  return { data: new Uint8ClampedArray(width * height * channels), width, height, channels }
}

function weighted(data: Pixels['data'], from: number, step: number, taps: Taps, index: number): number {
  const { count, weights, stride } = taps
  const n = count[index] as number
  let sum = 1 << (precision - 1)
  for (let i = 0, at = from, w = index * stride; i < n; i += 1, at += step, w += 1) {
    sum += (data[at] as number) * (weights[w] as number)
  }
  return sum >> precision
}
