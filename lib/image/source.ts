import { readFile, stat } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { Sharp } from 'sharp'
import { asAbortSignal, offAbort, onAbort, type Signal } from '../abort.js'
import { invalidArgument, ResNetError } from '../errors.js'
import type { ImageInput, RawPixels } from './types.js'

export interface ImageLimits {
  /** Width × height of the encoded image and of the resized one. Default 178,956,970, where Pillow refuses too. */
  maxPixels: number
  /** Of an http(s) answer. Default 64 MiB. */
  maxUrlBytes: number
  /** From the request to the last byte. Default 30,000. */
  urlTimeoutMs: number
}

export const defaultImageLimits: Readonly<ImageLimits> = {
  maxPixels: 178_956_970,
  maxUrlBytes: 64 * 1024 * 1024,
  urlTimeoutMs: 30_000,
}

/** What an input turns out to be once its bytes are here. */
export type ImageSource =
  | { kind: 'encoded'; bytes: Uint8Array }
  | { kind: 'raw'; pixels: RawPixels }
  | { kind: 'sharp'; sharp: Sharp }

interface Reading {
  limits: ImageLimits
  signal?: Signal
  index?: number
}

const accepted =
  'a path, a file:, http: or https: URL object, encoded bytes (Uint8Array), raw pixels { data, width, height, channels } or a sharp instance'

/** How messages name an image: its path or address, or what kind of value it is. */
export function describeImage(input: ImageInput): string {
  if (typeof input === 'string') return `'${input}'`
  if (input instanceof URL) return `'${input.protocol === 'data:' ? 'data:…' : input.href}'`
  if (input instanceof Uint8Array) return `the encoded image (${input.byteLength} bytes)`
  return isSharp(input) ? 'the sharp instance' : 'the raw image'
}

/** What need not be waited for; undefined: `readSource` has to read it. @throws As that. */
export function sourceAtHand(input: ImageInput, reading: Pick<Reading, 'index'>): ImageSource | undefined {
  if (typeof input === 'string' || input instanceof URL) return undefined
  if (input instanceof Uint8Array) return encoded(input, input, reading)
  if (isSharp(input)) return { kind: 'sharp', sharp: input }
  return { kind: 'raw', pixels: checkPixels(input, reading.index) }
}

/**
 * Fetches the bytes of an image, wherever it is; checks kind and size, decodes nothing.
 *
 * @throws ERR_RESNET_INVALID_ARGUMENT for what is no image input, ERR_RESNET_IO when it cannot be read,
 * ERR_RESNET_IMAGE for zero bytes; the signal's reason when aborted.
 */
export async function readSource(input: ImageInput, reading: Reading): Promise<ImageSource> {
  if (typeof input === 'string') return encoded(await readPath(input, input, reading), input, reading)
  if (input instanceof URL) return encoded(await readUrl(input, reading), input, reading)
  return sourceAtHand(input, reading) as ImageSource
}

function encoded(bytes: Uint8Array, input: ImageInput, { index }: Pick<Reading, 'index'>): ImageSource {
  if (bytes.byteLength > 0) return { kind: 'encoded', bytes }
  throw new ResNetError(
    'ERR_RESNET_IMAGE',
    `Expected an image, but ${describeImage(input)} holds zero bytes. Check that it was written completely.`,
    { index },
  )
}

export function isSharp(input: unknown): input is Sharp {
  const candidate = input as Partial<Sharp> | null
  return (
    typeof candidate === 'object' &&
    candidate !== null &&
    typeof candidate.clone === 'function' &&
    typeof candidate.metadata === 'function' &&
    typeof candidate.toBuffer === 'function'
  )
}

function checkPixels(input: unknown, index?: number): RawPixels {
  const pixels = input as Partial<RawPixels> | null
  const data = typeof pixels === 'object' ? pixels?.data : undefined
  if (!(data instanceof Uint8Array || data instanceof Uint8ClampedArray)) {
    throw invalidArgument(`Expected an image as ${accepted}, received ${kindOf(input)}.`, { index })
  }
  const { width = 0, height = 0, channels = 0 } = pixels as RawPixels
  if (!(Number.isInteger(width) && width > 0 && Number.isInteger(height) && height > 0)) {
    throw invalidArgument(
      `Expected positive whole numbers as width and height of a raw image, received ${width} x ${height}.`,
      { index },
    )
  }
  if (![1, 2, 3, 4].includes(channels)) {
    throw invalidArgument(`Expected 1, 2, 3 or 4 channels in a raw image, received ${channels}.`, { index })
  }
  if (data.length !== width * height * channels) {
    throw invalidArgument(
      `Expected ${width * height * channels} bytes in a raw image of ${width} x ${height} pixels with ${channels} channels, received ${data.length}.`,
      { index },
    )
  }
  return pixels as RawPixels
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (typeof value !== 'object') return `${typeof value} ${String(value)}`
  return `an object of type ${value.constructor?.name ?? 'Object'}`
}

async function readPath(path: string, named: string, { signal, index }: Reading): Promise<Uint8Array> {
  const scheme = /^(https?|file|data):/i.exec(named)?.[1]
  if (scheme !== undefined) {
    throw invalidArgument(
      `A string is always a path, received '${named.slice(0, 80)}'. Pass new URL('${scheme}:…') for an address.`,
      { index },
    )
  }
  try {
    const stats = await stat(path)
    // A device such as /dev/zero never ends; a pipe may be a shell's <(…).
    if (stats.isCharacterDevice() || stats.isBlockDevice()) throw new Error('it is a device, not a file')
    return await readFile(path, { signal: asAbortSignal(signal) })
  } catch (cause) {
    signal?.throwIfAborted()
    throw fileError(path, cause as NodeJS.ErrnoException, index)
  }
}

function fileError(path: string, cause: NodeJS.ErrnoException, index?: number): ResNetError {
  switch (cause.code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new ResNetError(
        'ERR_RESNET_IO',
        `There is no image file '${path}' (seen from the folder '${process.cwd()}'). Check the path.`,
        { cause, index },
      )
    case 'EISDIR':
      return new ResNetError(
        'ERR_RESNET_IO',
        `Expected an image file, but '${path}' is a folder. Pass the files in it; the command line's classify and embed walk folders.`,
        { cause, index },
      )
    case 'ERR_INVALID_ARG_VALUE':
      return invalidArgument(`Expected a path without null bytes, received ${JSON.stringify(path)}.`, {
        cause,
        index,
      })
    default:
      return new ResNetError('ERR_RESNET_IO', `The image file '${path}' cannot be read: ${cause.message}.`, {
        cause,
        index,
      })
  }
}

async function readUrl(url: URL, reading: Reading): Promise<Uint8Array> {
  if (url.protocol === 'http:' || url.protocol === 'https:') return download(url, reading)
  if (url.protocol !== 'file:') {
    throw invalidArgument(
      `Expected a file:, http: or https: URL as an image, received '${url.protocol}'. Pass the bytes instead.`,
      { index: reading.index },
    )
  }
  let path: string
  try {
    path = fileURLToPath(url)
  } catch (cause) {
    throw invalidArgument(`Expected a file: URL of a local file, received '${url.href}'.`, {
      cause,
      index: reading.index,
    })
  }
  // The './' keeps a relative look-alike ('http:/x') from being taken for an address; absolute paths have no scheme.
  return readPath(path, `./${path}`, reading)
}

async function download(url: URL, { limits, signal, index }: Reading): Promise<Uint8Array> {
  const failed = (what: string, cause?: unknown) =>
    new ResNetError('ERR_RESNET_IO', `The image '${url.href}' cannot be fetched: ${what}`, { cause, index })
  const stop = new AbortController()
  const abort = () => stop.abort()
  const timer = setTimeout(abort, limits.urlTimeoutMs)
  onAbort(signal, abort)
  try {
    const response = await fetch(url, { signal: stop.signal })
    if (!response.ok) {
      await response.body?.cancel()
      throw failed(`the server answered ${`${response.status} ${response.statusText}`.trim()}.`)
    }
    const bytes = await readBody(response, limits.maxUrlBytes)
    if (bytes === undefined) {
      throw failed(
        `it is larger than maxUrlBytes (${limits.maxUrlBytes}). Raise that limit if this is right.`,
      )
    }
    return bytes
  } catch (cause) {
    signal?.throwIfAborted()
    if (cause instanceof ResNetError) throw cause
    if (stop.signal.aborted) {
      throw failed(
        `no complete answer within urlTimeoutMs (${limits.urlTimeoutMs}). Raise that limit if this is right.`,
        cause,
      )
    }
    const reason =
      cause instanceof Error ? ((cause.cause as Error | undefined)?.message ?? cause.message) : String(cause)
    throw failed(`${reason}.`, cause)
  } finally {
    clearTimeout(timer)
    offAbort(signal, abort)
  }
}

/** The body, or undefined as soon as it is longer than maxBytes. */
async function readBody(response: Response, maxBytes: number): Promise<Uint8Array | undefined> {
  const pieces: Uint8Array[] = []
  let length = 0
  if (response.body === null) return new Uint8Array(0)
  const tooLong = Number(response.headers.get('content-length') ?? 0) > maxBytes
  const reader = response.body.getReader()
  for (;;) {
    if (tooLong || length > maxBytes) {
      await reader.cancel()
      return undefined
    }
    const { done, value } = await reader.read()
    if (done) return Buffer.concat(pieces, length)
    pieces.push(value)
    length += value.byteLength
  }
}
