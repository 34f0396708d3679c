import type { Pixels } from './resample.js'
import { rowByRow } from './turns.js'

/**
 * CMYK becomes RGB and, for a network of one channel, RGB becomes grey, with the arithmetic of PIL's convert(). Grey
 * stays one channel: three equal ones are made when it is normalised.
 */
export async function convertColours(
  pixels: Pixels,
  networkChannels: number,
  signal?: AbortSignal,
): Promise<Pixels> {
  const colours = pixels.channels === 4 ? await convert(pixels, 3, cmykToRgb, signal) : pixels
  return networkChannels === 1 && colours.channels === 3 ? convert(colours, 1, rgbToGrey, signal) : colours
}

/** Converts the pixels from byte `from` of the source on into the bytes [to, end) of the target. */
type Conversion = (source: Pixels['data'], from: number, target: Uint8Array, to: number, end: number) => void

async function convert(
  { data, width, height, channels }: Pixels,
  targetChannels: number,
  conversion: Conversion,
  signal?: AbortSignal,
): Promise<Pixels> {
  const target = new Uint8Array(width * height * targetChannels)
  const pitch = width * targetChannels
  const fill = (row: number) =>
    conversion(data, row * width * channels, target, row * pitch, (row + 1) * pitch)
  await rowByRow(height, pitch, fill, signal)
  return { data: target, width, height, channels: targetChannels }
}

const cmykToRgb: Conversion = (data, start, rgb, begin, end) => {
  for (let from = start, to = begin; to < end; from += 4, to += 3) {
    const white = 255 - (data[from + 3] as number)
    rgb[to] = white - scaled(data[from] as number, white)
    rgb[to + 1] = white - scaled(data[from + 1] as number, white)
    rgb[to + 2] = white - scaled(data[from + 2] as number, white)
  }
}

/** a · b / 255, rounded: PIL's MULDIV255. */
function scaled(a: number, b: number): number {
  const product = a * b + 128
  return ((product >> 8) + product) >> 8
}

/** ITU-R 601 in 16 bits of precision. */
const rgbToGrey: Conversion = (data, start, grey, begin, end) => {
  for (let from = start, to = begin; to < end; from += 3, to += 1) {
    const red = data[from] as number
    const green = data[from + 1] as number
    const blue = data[from + 2] as number
    grey[to] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
  }
}
