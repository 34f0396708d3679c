import type { Pixels } from './resample.js'

/**
 * CMYK becomes RGB and, for a network of one channel, RGB becomes grey, with the arithmetic of PIL's convert(). Grey
 * stays one channel: three equal ones are made when it is normalised.
 */
export function convertColours(pixels: Pixels, networkChannels: number): Pixels {
  const colours = pixels.channels === 4 ? cmykToRgb(pixels) : pixels
  return networkChannels === 1 && colours.channels === 3 ? rgbToGrey(colours) : colours
}

function cmykToRgb({ data, width, height }: Pixels): Pixels {
  const rgb = new Uint8Array(width * height * 3)
  for (let from = 0, to = 0; to < rgb.length; from += 4, to += 3) {
    const white = 255 - (data[from + 3] as number)
    rgb[to] = white - scaled(data[from] as number, white)
    rgb[to + 1] = white - scaled(data[from + 1] as number, white)
    rgb[to + 2] = white - scaled(data[from + 2] as number, white)
  }
  return { data: rgb, width, height, channels: 3 }
}

/** a · b / 255, rounded: PIL's MULDIV255. */
function scaled(a: number, b: number): number {
  const product = a * b + 128
  return ((product >> 8) + product) >> 8
}

/** ITU-R 601 in 16 bits of precision. */
function rgbToGrey({ data, width, height }: Pixels): Pixels {
  const grey = new Uint8Array(width * height)
  for (let from = 0, to = 0; to < grey.length; from += 3, to += 1) {
    const red = data[from] as number
    const green = data[from + 1] as number
    const blue = data[from + 2] as number
    grey[to] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
  }
  return { data: grey, width, height, channels: 1 }
}
