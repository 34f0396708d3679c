import { existsSync } from 'node:fs'
import path from 'node:path'
import { addon, nativeSync } from '../native/call.js'

/** What the beginning of a JPEG says of it. */
export interface JpegHeader {
  width: number
  height: number
  /** It may tell an orientation. */
  hasExif: boolean
}

/** The libturbojpeg that decodes JPEGs, or why sharp does. */
export type JpegLibrary = { path: string; reason?: undefined } | { path?: undefined; reason: string }

/** Baseline, extended and progressive Huffman coding. Lossless and arithmetic coding are left to sharp. */
const frameMarkers = [0xc0, 0xc1, 0xc2]
const startOfScan = 0xda
const endOfImage = 0xd9
const exifMarker = 0xe1

/**
 * The size of a JPEG of 8-bit grey or colour, from its frame header.
 * @returns undefined for all else, damaged headers among it.
 */
export function readJpegHeader(bytes: Uint8Array): JpegHeader | undefined {
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let hasExif = false
  // A segment: 0xff, its marker, and a length that counts itself but not these two.
  for (let at = 2; at + 4 <= bytes.length; at += 2 + view.getUint16(at + 2)) {
    const marker = bytes[at + 1] as number
    if (bytes[at] !== 0xff || marker < 0xc0 || marker === startOfScan || marker === endOfImage)
      return undefined
    if (marker === exifMarker) hasExif = true
    if (frameMarkers.includes(marker)) return frame(view, at, hasExif)
    if (view.getUint16(at + 2) < 2) return undefined
  }
  return undefined
}

function frame(view: DataView, at: number, hasExif: boolean): JpegHeader | undefined {
  if (at + 10 > view.byteLength) return undefined
  const precision = view.getUint8(at + 4)
  const height = view.getUint16(at + 5)
  const width = view.getUint16(at + 7)
  const components = view.getUint8(at + 9)
  const taken = precision === 8 && width > 0 && height > 0 && (components === 1 || components === 3)
  return taken ? { width, height, hasExif } : undefined
}

/** Bytes at the end of a file among which the last marker is looked for: some writers append a few. */
const tailBytes = 1024
const endMarker = Buffer.of(0xff, endOfImage)

/**
 * Whether the file goes on to its end: where only the upper part of a picture is decoded, a file cut short would pass
 * unnoticed. Within the picture's data this marker cannot be.
 */
export function isWhole(bytes: Uint8Array): boolean {
  const { buffer, byteOffset, length } = bytes
  if (bytes[length - 2] === 0xff && bytes[length - 1] === endOfImage) return true
  const from = Math.max(0, length - tailBytes)
  return Buffer.from(buffer, byteOffset + from, length - from).includes(endMarker)
}

let found: JpegLibrary | undefined

/**
 * Found and opened at the first call: what RESNET_TURBOJPEG names, else the optional package's.
 * @throws ERR_RESNET_UNAVAILABLE when RESNET_TURBOJPEG names what cannot be used.
 */
export function jpegLibrary(): JpegLibrary {
  found ??= findJpegLibrary(process.env.RESNET_TURBOJPEG)
  return found
}

/** The same without a memory. @param named a path, 'off', or nothing: look in node_modules. */
export function findJpegLibrary(named: string | undefined): JpegLibrary {
  if (named === 'off') return { reason: 'RESNET_TURBOJPEG is off' }
  if (named) return opened(named)
  const candidate = packaged()
  if (candidate.path === undefined) return candidate
  try {
    return opened(candidate.path)
  } catch (error) {
    return { reason: (error as Error).message }
  }
}

function opened(path: string): JpegLibrary {
  nativeSync(() => addon().openJpegLibrary({ path }))
  return { path }
}

const packageName = '@julusian/jpeg-turbo'

function packaged(): JpegLibrary {
  let folder: string
  try {
    folder = path.dirname(require.resolve(`${packageName}/package.json`))
  } catch {
    return { reason: `the optional package ${packageName} is not installed` }
  }
  const platform = `${process.platform}-${process.arch}${usesMusl() ? '-musl' : ''}`
  const file = path.join(folder, 'prebuilds', `jpeg-turbo-${platform}`, 'libturbojpeg.so.0')
  return existsSync(file) ? { path: file } : { reason: `${packageName} has no library for ${platform}` }
}

function usesMusl(): boolean {
  if (process.platform !== 'linux') return false
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } }
  return header.glibcVersionRuntime === undefined
}
