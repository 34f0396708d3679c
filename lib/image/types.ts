import type { Sharp } from 'sharp'
import type { Picture } from '../../binding.js'
import type { Signal } from '../abort.js'

/** Decoded pixels: rows from the top, interleaved, 8 bits a channel (grey, grey + alpha, RGB or RGBA). */
export interface RawPixels {
  data: Uint8Array | Uint8ClampedArray
  width: number
  height: number
  channels: 1 | 2 | 3 | 4
}

/**
 * A path (every string is one), a `file:` or `http(s):` URL, encoded bytes, raw pixels, or a sharp instance. Bytes and pixels
 * are read when their turn comes: leave them as they are until the call settles.
 */
export type ImageInput = string | URL | Uint8Array | RawPixels | Sharp

/** A length for the shorter side (resize) or a square (crop), or [height, width]. */
export type ImageSize = number | readonly [number, number]

/** How an image becomes the network's input: resize, centre crop, then (x / 255 − mean) / std per channel. */
export interface Preprocessing {
  /** null: keep the size. */
  resize: ImageSize | null
  /** null: keep all of it. */
  crop: ImageSize | null
  interpolation: 'bilinear' | 'bicubic'
  /** One per channel of the network; three are RGB. */
  mean: readonly number[]
  std: readonly number[]
  /** Where it came from: 'options', 'metadata', 'preprocessor_config.json', 'torchvision V1 (assumed)', … */
  source: string
}

/**
 * How a network takes images: 'float32' is normalised, [C, H, W]; 'uint8' levels that its device normalises, [H, W, C];
 * 'picture' decoded, which its device resizes and crops too.
 */
export type ImageForm = 'float32' | 'uint8' | 'picture'

/** What a form's images are; a picture is its receiver's to dispose of. */
export type ImageData = Float32Array | Uint8Array | Picture

/** One image, ready for the network. */
export interface PreprocessedImage<Data = Float32Array> {
  /** As the form says. */
  data: Data
  height: number
  width: number
  channels: number
}

export interface PreprocessOptions {
  signal?: Signal
  /** Position in the caller's array; a failure's `index`. */
  index?: number
}
