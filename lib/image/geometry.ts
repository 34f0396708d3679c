import type { ImageSize, Preprocessing } from './types.js'

export interface Extent {
  width: number
  height: number
}
/** Where the cropped window lies in one direction: [from, from + length) of the image goes to `to` in the window. */
export interface Window {
  from: number
  length: number
  to: number
}
export interface Geometry {
  resized: Extent
  cropped: Extent
  x: Window
  y: Window
}

/** The sizes and offsets of a preset on an image of this size, as torchvision's Resize and CenterCrop compute them. */
export function planGeometry(image: Extent, preset: Pick<Preprocessing, 'resize' | 'crop'>): Geometry {
  const resized = preset.resize === null ? image : resizedExtent(image, preset.resize)
  const cropped = preset.crop === null ? resized : square(preset.crop)
  return {
    resized,
    cropped,
    x: centre(resized.width, cropped.width),
    y: centre(resized.height, cropped.height),
  }
}

function square(size: ImageSize): Extent {
  return typeof size === 'number' ? { width: size, height: size } : { height: size[0], width: size[1] }
}

/** A single number is the shorter side's new length; the longer side's is rounded down. */
function resizedExtent({ width, height }: Extent, size: ImageSize): Extent {
  if (typeof size !== 'number') return square(size)
  return width <= height
    ? { width: size, height: Math.floor((size * height) / width) }
    : { width: Math.floor((size * width) / height), height: size }
}

/** The middle of `image` pixels; a crop that is larger than the image has it in its middle, with zeros around. */
function centre(image: number, crop: number): Window {
  if (crop >= image) return { from: 0, length: image, to: Math.floor((crop - image) / 2) }
  return { from: roundHalfToEven((image - crop) / 2), length: crop, to: 0 }
}

/** Python's round(), which decides by which pixel an odd margin is off. */
function roundHalfToEven(value: number): number {
  const floor = Math.floor(value)
  if (value - floor !== 0.5) return Math.round(value)
  return floor % 2 === 0 ? floor : floor + 1
}
