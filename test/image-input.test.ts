// Every way to hand over an image, and every way in which it can be wrong.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import sharp from 'sharp'
import { Stop } from '../lib/abort.js'
import { ResNetError } from '../lib/errors.js'
import { type DecodeOptions, pixelGate, preprocess } from '../lib/image/decode.js'
import type { ImageInput, PreprocessedImage, Preprocessing } from '../lib/image/types.js'

const folder = path.join(__dirname, 'fixtures', 'images')
const fixture = (name: string) => path.join(folder, name)
const whole: Preprocessing = {
  resize: null,
  crop: null,
  interpolation: 'bilinear',
  mean: [0, 0, 0],
  std: [1, 1, 1],
  source: 'test',
}
const small: Preprocessing = { ...whole, resize: 64, crop: 56 }

/** One pixel's levels, 0..255. */
function pixelAt({ data, height, width, channels }: PreprocessedImage, x: number, y: number): number[] {
  return Array.from({ length: channels }, (_, c) =>
    Math.round((data[(c * height + y) * width + x] as number) * 255),
  )
}

async function failure(input: unknown, options: DecodeOptions = {}): Promise<ResNetError> {
  const error = await preprocess(input as ImageInput, small, options).then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(ResNetError)
  return error as ResNetError
}

describe('the same picture in every form', () => {
  const file = fixture('china.jpg')
  let expected: Float32Array
  beforeAll(async () => {
    expected = (await preprocess(file, small)).data
  })
  const forms: [string, () => Promise<ImageInput>][] = [
    ['a relative path', async () => path.relative(process.cwd(), file)],
    ['a file: URL', async () => pathToFileURL(file)],
    ['a Buffer', async () => readFileSync(file)],
    ['a plain Uint8Array', async () => new Uint8Array(readFileSync(file))],
    ['a sharp instance', async () => sharp(file)],
    ['raw pixels', async () => rawPixels(sharp(file))],
    ['raw pixels with alpha', async () => rawPixels(sharp(file).ensureAlpha(0.25))],
  ]
  it.each(forms)('%s', async (_, form) => {
    expect((await preprocess(await form(), small)).data).toEqual(expected)
  })

  it('leaves the sharp instance usable', async () => {
    const image = sharp(file)
    await preprocess(image, small)
    expect((await image.png().toBuffer({ resolveWithObject: true })).info.width).toBe(241)
  })
})

async function rawPixels(image: sharp.Sharp) {
  const { data, info } = await image.raw().toBuffer({ resolveWithObject: true })
  return { data, width: info.width, height: info.height, channels: info.channels as 3 | 4 }
}

describe('pixels', () => {
  const grey = { data: Uint8Array.from([0, 51, 102, 255]), width: 2, height: 2, channels: 1 as const }

  it('spreads grey over three channels, in order C, H, W', async () => {
    const { data } = await preprocess(grey, whole)
    expect(Array.from(data, (value) => Math.round(value * 255))).toEqual([
      0, 51, 102, 255, 0, 51, 102, 255, 0, 51, 102, 255,
    ])
  })

  it('weighs colours for a network of one channel as ITU-R 601', async () => {
    const data = Uint8Array.from([255, 0, 0, 0, 255, 0, 0, 0, 255])
    const result = await preprocess(
      { data, width: 3, height: 1, channels: 3 },
      { ...whole, mean: [0], std: [1] },
    )
    expect([0, 1, 2].map((x) => pixelAt(result, x, 0)[0])).toEqual([76, 150, 29])
  })

  it('normalises as float32 (x / 255 - mean) / std', async () => {
    const preset = { ...whole, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }
    const { data } = await preprocess(
      { data: Uint8Array.from([255, 128, 0]), width: 1, height: 1, channels: 3 },
      preset,
    )
    expect(data[0]).toBeCloseTo((1 - 0.485) / 0.229, 6)
    expect(data[1]).toBeCloseTo((128 / 255 - 0.456) / 0.224, 6)
    expect(data[2]).toBeCloseTo(-0.406 / 0.225, 6)
  })

  it('fills with zeros around an image smaller than the crop', async () => {
    const result = await preprocess(
      { ...grey, data: Uint8Array.from([9, 9, 9, 9]) },
      { ...whole, crop: [3, 4] },
    )
    const row = (y: number) => [0, 1, 2, 3].map((x) => pixelAt(result, x, y)[0])
    expect([row(0), row(1), row(2)]).toEqual([
      [0, 9, 9, 0],
      [0, 9, 9, 0],
      [0, 0, 0, 0],
    ])
  })

  it('turns an image by its EXIF orientation only when asked', async () => {
    const plain = await preprocess(fixture('orientation-6.jpg'), whole)
    const turned = await preprocess(fixture('orientation-6.jpg'), whole, { autoOrient: true })
    expect([plain.width, plain.height]).toEqual([80, 106])
    expect([turned.width, turned.height]).toEqual([106, 80])
    expect(pixelAt(turned, 105, 0)).toEqual(pixelAt(plain, 0, 0))
  })

  it('ignores an embedded colour profile, as PIL does', async () => {
    const bytes = await sharp(fixture('china.jpg')).withIccProfile('p3').png().toBuffer()
    const untagged = await sharp(bytes, { ignoreIcc: true }).png().toBuffer()
    expect((await sharp(bytes).metadata()).hasProfile).toBe(true)
    expect((await preprocess(bytes, whole)).data).toEqual((await preprocess(untagged, whole)).data)
  })

  it('yields to the event loop while it enlarges', async () => {
    let turns = 0
    const count = setInterval(() => {
      turns += 1
    }, 1)
    await preprocess(fixture('grey.png'), { ...whole, resize: 3000 })
    clearInterval(count)
    expect(turns).toBeGreaterThan(5)
  })
})

describe('what cannot be read', () => {
  let scratch: string
  beforeAll(() => {
    scratch = mkdtempSync(path.join(tmpdir(), 'resnet-images-'))
  })
  afterAll(() => rmSync(scratch, { recursive: true }))
  const write = (name: string, bytes: Uint8Array | string) => {
    const file = path.join(scratch, name)
    writeFileSync(file, bytes)
    return file
  }
  const jpeg = readFileSync(fixture('china.jpg'))

  const rows: [string, () => unknown, string, RegExp][] = [
    [
      'no such file',
      () => path.join(scratch, 'absent.png'),
      'ERR_RESNET_IO',
      /no image file '.*absent\.png'/,
    ],
    ['a folder', () => scratch, 'ERR_RESNET_IO', /is a folder/],
    ['a device', () => '/dev/zero', 'ERR_RESNET_IO', /is a device/],
    ['an empty file', () => write('empty.jpg', ''), 'ERR_RESNET_IMAGE', /'.*empty\.jpg' holds zero bytes/],
    ['empty bytes', () => new Uint8Array(0), 'ERR_RESNET_IMAGE', /zero bytes/],
    [
      'a text file',
      () => write('text.png', 'not a picture'),
      'ERR_RESNET_IMAGE',
      /'.*text\.png' cannot be read as one/,
    ],
    [
      'a cut JPEG',
      () => write('cut.jpg', jpeg.subarray(0, 9000)),
      'ERR_RESNET_IMAGE',
      /cut\.jpg' is damaged or cut short/,
    ],
    [
      'a cut PNG',
      () => readFileSync(fixture('rgba.png')).subarray(0, 9000),
      'ERR_RESNET_IMAGE',
      /damaged or cut short/,
    ],
    [
      'an address as a string',
      () => 'https://example.org/cat.jpg',
      'ERR_RESNET_INVALID_ARGUMENT',
      /new URL\('https:/,
    ],
    [
      'an ftp: URL',
      () => new URL('ftp://example.org/cat.jpg'),
      'ERR_RESNET_INVALID_ARGUMENT',
      /received 'ftp:'/,
    ],
    ['a path with a null byte', () => 'a\0b.png', 'ERR_RESNET_INVALID_ARGUMENT', /null bytes/],
    ['undefined', () => undefined, 'ERR_RESNET_INVALID_ARGUMENT', /received undefined/],
    ['a number', () => 7, 'ERR_RESNET_INVALID_ARGUMENT', /received number 7/],
    [
      'float pixels',
      () => ({ data: new Float32Array(3), width: 1, height: 1, channels: 3 }),
      'ERR_RESNET_INVALID_ARGUMENT',
      /received an object/,
    ],
    [
      'too few raw bytes',
      () => ({ data: new Uint8Array(11), width: 2, height: 2, channels: 3 }),
      'ERR_RESNET_INVALID_ARGUMENT',
      /Expected 12 bytes.*received 11/,
    ],
    [
      'a raw width of zero',
      () => ({ data: new Uint8Array(0), width: 0, height: 2, channels: 3 }),
      'ERR_RESNET_INVALID_ARGUMENT',
      /0 x 2/,
    ],
    [
      'five raw channels',
      () => ({ data: new Uint8Array(5), width: 1, height: 1, channels: 5 }),
      'ERR_RESNET_INVALID_ARGUMENT',
      /channels.*received 5/,
    ],
    [
      'a broken sharp pipeline',
      () => sharp(fixture('grey.png')).extract({ left: 0, top: 0, width: 999, height: 9 }),
      'ERR_RESNET_IMAGE',
      /the sharp instance/,
    ],
  ]
  it.each(rows)('%s', async (_, input, code, message) => {
    const error = await failure(input(), { index: 3 })
    expect(error.code).toBe(code)
    expect(error.message).toMatch(message)
    expect(error.index).toBe(3)
  })

  it('an image of more pixels than the limit', async () => {
    const error = await failure(fixture('china.jpg'), { limits: { maxPixels: 77_000 } })
    expect(error.code).toBe('ERR_RESNET_IMAGE')
    expect(error.message).toMatch(/241 x 320 pixels, more than maxPixels \(77000\)/)
  })

  it('a sliver that resizing would blow up', async () => {
    const error = await failure({ data: new Uint8Array(100_000), width: 1, height: 100_000, channels: 1 })
    expect(error.code).toBe('ERR_RESNET_IMAGE')
    expect(error.message).toMatch(/would have after resizing 64 x 6400000/)
  })

  it('a network that takes neither one nor three channels', async () => {
    const preset = { ...small, mean: [0, 0, 0, 0], std: [1, 1, 1, 1] }
    await expect(preprocess(fixture('rgba.png'), preset)).rejects.toMatchObject({
      code: 'ERR_RESNET_INVALID_ARGUMENT',
      message: expect.stringMatching(/Pass a Tensor of shape \[n, 4, h, w\]/),
    })
  })

  it('a preset for another number of channels', async () => {
    const error = await failure(fixture('grey.png'), { channels: 1 })
    expect(error.code).toBe('ERR_RESNET_INVALID_ARGUMENT')
    expect(error.message).toMatch(/Expected 1 means.*received 3/)
  })
})

describe('over HTTP', () => {
  let server: Server
  let base: string
  beforeAll(async () => {
    server = createServer((request, response) => {
      if (request.url === '/china.jpg') response.end(readFileSync(fixture('china.jpg')))
      else if (request.url === '/moved') response.writeHead(302, { location: '/china.jpg' }).end()
      else if (request.url === '/endless') response.write('x')
      else response.writeHead(404).end('no')
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  })
  afterAll(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })

  it.each(['/china.jpg', '/moved'])('fetches %s', async (where) => {
    const { data } = await preprocess(new URL(where, base), small)
    expect(data).toEqual((await preprocess(fixture('china.jpg'), small)).data)
  })

  const rows: [string, string, DecodeOptions, RegExp][] = [
    ['an error status', '/absent.png', {}, /absent\.png' cannot be fetched: the server answered 404/],
    ['too many bytes', '/china.jpg', { limits: { maxUrlBytes: 1000 } }, /larger than maxUrlBytes \(1000\)/],
    ['no end in time', '/endless', { limits: { urlTimeoutMs: 50 } }, /within urlTimeoutMs \(50\)/],
  ]
  it.each(rows)('%s', async (_, where, options, message) => {
    const error = await failure(new URL(where, base), options)
    expect(error.code).toBe('ERR_RESNET_IO')
    expect(error.message).toMatch(message)
  })

  it('a closed port', async () => {
    const error = await failure(new URL('http://127.0.0.1:1/cat.jpg'))
    expect(error.code).toBe('ERR_RESNET_IO')
    expect(error.message).toMatch(/cannot be fetched/)
  })

  it('an abort while fetching', async () => {
    const control = new AbortController()
    const reason = new Error('enough')
    const call = preprocess(new URL('/endless', base), small, { signal: control.signal })
    setTimeout(() => control.abort(reason), 20)
    await expect(call).rejects.toBe(reason)
  })
})

describe('an abort', () => {
  const reason = new Error('enough')

  it('before the call', async () => {
    await expect(preprocess(fixture('grey.png'), small, { signal: AbortSignal.abort(reason) })).rejects.toBe(
      reason,
    )
  })

  it('while decoding, in place of what would have gone wrong', async () => {
    const control = new AbortController()
    const cut = readFileSync(fixture('flower.jpg')).subarray(0, 100_000)
    const call = preprocess(cut, small, { signal: control.signal })
    control.abort(reason)
    await expect(call).rejects.toBe(reason)
  })
})

describe('what sharp decodes', () => {
  const png = readFileSync(fixture('grey.png'))

  it('is a copy of the bytes: they may be changed meanwhile', async () => {
    const { data } = await preprocess(png, small)
    const bytes = new Uint8Array(png)
    const call = preprocess(bytes, small)
    await Promise.resolve()
    bytes.fill(0)
    expect((await call).data).toEqual(data)
  })

  it('waits while other images of many pixels are decoded, and may be aborted meanwhile', async () => {
    const others = 1e12
    await pixelGate.enter(others, { priority: 0, sequence: 0 }, new Stop())
    const done: string[] = []
    const gone = new AbortController()
    const waiting = preprocess(png, small).then(() => done.push('waited'))
    const aborted = preprocess(png, small, { signal: gone.signal }).catch((reason) => done.push(reason))
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(done).toEqual([])
    gone.abort('gone')
    await aborted
    expect(done).toEqual(['gone'])
    pixelGate.leave(others)
    await waiting
    expect(done).toEqual(['gone', 'waited'])
  })
})
