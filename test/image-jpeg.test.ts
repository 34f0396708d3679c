// The way of a JPEG: its header, the library that decodes it, when sharp does instead, and the addon's door.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import type { JpegCall } from '../binding.js'
import { preprocess } from '../lib/image/decode.js'
import { findJpegLibrary, jpegLibrary, readJpegHeader } from '../lib/image/jpeg.js'
import type { Preprocessing } from '../lib/image/types.js'
import { loadBinding } from '../lib/native/load.js'

const binding = loadBinding()
const folder = path.join(__dirname, 'fixtures', 'images')
const read = (name: string) => readFileSync(path.join(folder, name))
const flower = read('flower.jpg')
const china = read('china.jpg')
const preset: Preprocessing = {
  resize: 128,
  crop: 112,
  interpolation: 'bilinear',
  mean: [0.485, 0.456, 0.406],
  std: [0.229, 0.224, 0.225],
  source: 'test',
}
const describeOnLinux = process.platform === 'linux' ? describe : describe.skip

/** Where the frame header begins. */
const frameOf = (jpeg: Uint8Array) =>
  jpeg.findIndex((byte, at) => byte === 0xff && [0xc0, 0xc1, 0xc2].includes(jpeg[at + 1] as number))

function patched(jpeg: Uint8Array, at: number, ...bytes: number[]): Uint8Array {
  const copy = new Uint8Array(jpeg)
  copy.set(bytes, at)
  return copy
}

describe('the header of a JPEG', () => {
  const frame = frameOf(china)
  it.each([
    ['flower.jpg', { width: 640, height: 427, hasExif: true }],
    ['china.jpg', { width: 241, height: 320, hasExif: false }],
    ['orientation-6.jpg', { width: 80, height: 106, hasExif: true }],
    ['cmyk.jpg', undefined],
    ['rgba.png', undefined],
  ])('%s', (name, expected) => {
    expect(readJpegHeader(read(name))).toEqual(expected)
  })

  it.each([
    ['12 bits', patched(china, frame + 4, 12)],
    ['a height of zero', patched(china, frame + 5, 0, 0)],
    ['a lossless frame', patched(china, frame + 1, 0xc3)],
    ['an arithmetic frame', patched(china, frame + 1, 0xc9)],
    ['a segment without length', patched(china, 4, 0, 0)],
    ['a segment longer than the file', china.subarray(0, 10)],
    ['a frame cut off', china.subarray(0, frame + 8)],
    ['nothing', new Uint8Array(0)],
  ])('is not taken: %s', (_, bytes) => {
    expect(readJpegHeader(bytes)).toBeUndefined()
  })

  it('is read from the middle of a buffer', () => {
    const shifted = new Uint8Array(flower.length + 7)
    shifted.set(flower, 7)
    expect(readJpegHeader(shifted.subarray(7))).toMatchObject({ width: 640, height: 427 })
  })
})

describe('the library', () => {
  it('can be turned off', () => {
    expect(findJpegLibrary('off')).toEqual({ reason: 'RESNET_TURBOJPEG is off' })
  })

  it('must be one when it is named', () => {
    expect(() => findJpegLibrary('/absent/libturbojpeg.so')).toThrow(
      expect.objectContaining({
        code: 'ERR_RESNET_UNAVAILABLE',
        message: expect.stringMatching(/'\/absent\/libturbojpeg\.so'.*libjpeg-turbo 3 or newer/),
      }),
    )
  })
})

describeOnLinux('libturbojpeg decodes (Linux only)', () => {
  let exact: Float32Array
  beforeAll(async () => {
    expect(findJpegLibrary(undefined)).toEqual({ path: expect.any(String) })
    exact = (await preprocess(flower, preset)).data
  })

  it('the same bits as sharp', async () => {
    const { data, info } = await sharp(flower).raw().toBuffer({ resolveWithObject: true })
    const pixels = { data, width: info.width, height: info.height, channels: 3 as const }
    expect((await preprocess(pixels, preset)).data).toEqual(exact)
  })

  it('sharp decodes what libjpeg warns about', async () => {
    const odd = Buffer.concat([flower.subarray(0, -2), Buffer.from([1, 2, 3, 4]), flower.subarray(-2)])
    const library = jpegLibrary().path as string
    await expect(binding.prepareJpeg(jpegCall({ library, bytes: odd }))).rejects.toMatchObject({
      code: 'ERR_RESNET_IMAGE',
      message: expect.stringMatching(/extraneous bytes/),
    })
    expect((await preprocess(odd, preset)).data).toEqual(exact)
  })

  it.each([1, 2, 100, 1000])(
    'a file that lacks its last %d bytes is refused, though the crop needs none of them',
    async (lost) => {
      await expect(preprocess(flower.subarray(0, -lost), preset)).rejects.toMatchObject({
        code: 'ERR_RESNET_IMAGE',
        message: expect.stringMatching(/damaged or cut short/),
      })
    },
  )

  it.each([1, 500, 5000])('%d bytes behind the picture change nothing', async (more) => {
    const longer = Buffer.concat([flower, Buffer.alloc(more, 7)])
    expect((await preprocess(longer, preset)).data).toEqual(exact)
  })

  it('a copy of the bytes: they may be changed meanwhile', async () => {
    const bytes = new Uint8Array(flower)
    const call = preprocess(bytes, preset)
    await Promise.resolve()
    bytes.fill(0)
    expect((await call).data).toEqual(exact)
  })

  it('many at once, of which some are aborted', async () => {
    const reason = new Error('enough')
    const calls = Array.from({ length: 64 }, (_, i) => {
      const control = new AbortController()
      const call = preprocess(flower, preset, { signal: control.signal })
      if (i % 2 === 1) setImmediate(() => control.abort(reason))
      return call.then(
        ({ data }) => data,
        (error: unknown) => error,
      )
    })
    const results = await Promise.all(calls)
    const bits = (data: unknown) => Buffer.from((data as Float32Array).buffer)
    const wrong = results.filter((result) => result !== reason && !bits(result).equals(bits(exact)))
    expect(wrong).toEqual([])
    expect(results.filter((result, i) => i % 2 === 0 && result === reason)).toEqual([])
    expect(results.filter((result) => result === reason).length).toBeGreaterThan(0)
  })

  describe('at half the size', () => {
    const differences = async (resize: number) => {
      const wanted = { ...preset, resize, mean: [0, 0, 0], std: [1, 1, 1] }
      const [whole, halved] = await Promise.all(
        [false, true].map((jpegScaling) => preprocess(flower, wanted, { jpegScaling })),
      )
      return Array.from(whole?.data ?? [], (value, i) => Math.abs(value - (halved?.data[i] as number)) * 255)
    }

    it('is near where the image shrinks three times', async () => {
      const levels = await differences(142)
      const mean = levels.reduce((sum, level) => sum + level, 0) / levels.length
      expect(mean).toBeGreaterThan(0.01)
      expect(mean).toBeLessThan(0.7)
      expect(Math.max(...levels)).toBeLessThan(25)
    })

    it('is left where it shrinks less', async () => {
      expect(Math.max(...(await differences(143)))).toBe(0)
    })
  })
})

function jpegCall(fields: Partial<Record<keyof JpegCall, unknown>>): JpegCall {
  return {
    library: jpegLibrary().path ?? '',
    bytes: flower,
    halved: false,
    width: 640,
    height: 427,
    resizedWidth: 64,
    resizedHeight: 43,
    interpolation: 'bilinear',
    x: { from: 0, length: 40, to: 0 },
    y: { from: 3, length: 40, to: 0 },
    output: new Float32Array(3 * 40 * 40),
    outputWidth: 40,
    outputHeight: 40,
    mean: [0, 0, 0],
    std: [1, 1, 1],
    ...fields,
  } as JpegCall
}

describeOnLinux('the addon refuses what would reach beyond the buffers (Linux only)', () => {
  const rows: [string, Partial<Record<keyof JpegCall, unknown>>, RegExp][] = [
    ['a short output', { output: new Float32Array(3 * 40 * 40 - 1) }, /'output' must have 4800 elements/],
    ['a short output of bytes', { output: new Uint8Array(4799) }, /'output' must have 4800 elements/],
    ['an output of words', { output: new Uint16Array(4800) }, /output' must be/],
    ['a window beyond the image', { x: { from: 30, length: 40, to: 0 } }, /x\.length'/],
    ['a window beyond the output', { y: { from: 0, length: 30, to: 11 } }, /y\.to'/],
    ['a window of nothing', { y: { from: 0, length: 0, to: 0 } }, /y\.length'/],
    ['no window', { x: undefined }, /'x'/],
    ['two means', { mean: [0, 0], std: [1, 1] }, /'mean' must have 1 or 3/],
    ['fewer deviations', { std: [1] }, /one length/],
    ['a width of zero', { width: 0 }, /width'/],
    ['another interpolation', { interpolation: 'lanczos' }, /'lanczos'/],
    ['halved by a word', { halved: 'yes' }, /halved'/],
    ['bytes as text', { bytes: 'jpeg' }, /bytes'/],
  ]
  it.each(rows)('%s', async (_, fields, message) => {
    await expect(binding.prepareJpeg(jpegCall(fields))).rejects.toMatchObject({
      code: 'ERR_RESNET_INVALID_ARGUMENT',
      message: expect.stringMatching(message),
    })
  })

  it('a file of another size than it was told', async () => {
    await expect(binding.prepareJpeg(jpegCall({ width: 641 }))).rejects.toMatchObject({
      code: 'ERR_RESNET_IMAGE',
    })
  })

  it.each([
    [2, 640 * 427 * 2, /channels/],
    [3, 640 * 427 * 3 - 1, /must have 819840 bytes/],
  ])('pixels of %d channels in %d bytes', async (channels, bytes, message) => {
    const call = { ...jpegCall({}), channels, pixels: new Uint8Array(bytes) }
    await expect(binding.preparePixels(call)).rejects.toMatchObject({
      code: 'ERR_RESNET_INVALID_ARGUMENT',
      message: expect.stringMatching(message),
    })
  })
})
