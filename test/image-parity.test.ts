// Preprocessed images against torchvision's transforms on PIL images (test/fixtures/images/expected.json).
import { readFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import { preprocess } from '../lib/image/decode.js'
import { jpegLibrary } from '../lib/image/jpeg.js'
import type { ImageSize, Preprocessing } from '../lib/image/types.js'

let mockDecoder: 'libturbojpeg' | 'sharp' = 'libturbojpeg'
jest.mock('../lib/image/jpeg.js', () => {
  const actual = jest.requireActual<typeof import('../lib/image/jpeg.js')>('../lib/image/jpeg.js')
  const none = { reason: 'the test wants sharp' }
  return { ...actual, jpegLibrary: () => (mockDecoder === 'sharp' ? none : actual.jpegLibrary()) }
})

interface Case {
  image: string
  preset: string
  resize: ImageSize | null
  crop: ImageSize | null
  interpolation: Preprocessing['interpolation']
  mean: number[]
  std: number[]
  height: number
  width: number
  channelMeans: number[]
  step: number
  levels: number[]
  /** Of a colour JPEG for a grey network: the same of the file's own luma. */
  luma?: number[]
}

const folder = path.join(__dirname, 'fixtures', 'images')
const { cases } = JSON.parse(readFileSync(path.join(folder, 'expected.json'), 'utf8')) as { cases: Case[] }

/** Levels of 0..255: mean and largest difference, and the largest difference of a channel's mean after normalising. */
interface Bound {
  mean: number
  max: number
  channelMean: number
}
/** float32 rounding only: the 8-bit levels are the same. */
const exact: Bound = { mean: 1e-3, max: 1e-2, channelMean: 1e-5 }

async function compare(expected: Case, preset: Preprocessing): Promise<Bound> {
  const result = await preprocess(path.join(folder, expected.image), preset)
  expect([result.channels, result.height, result.width]).toEqual([
    expected.mean.length,
    expected.height,
    expected.width,
  ])
  const plane = result.height * result.width
  const differences = expected.levels.map((level, i) => {
    const at = i * expected.step
    const channel = Math.floor(at / plane)
    const value = result.data[at] as number
    return Math.abs(
      (value * (expected.std[channel] as number) + (expected.mean[channel] as number)) * 255 - level,
    )
  })
  const channelMeans = expected.channelMeans.map((mean, channel) => {
    const values = result.data.subarray(channel * plane, (channel + 1) * plane)
    return Math.abs(values.reduce((sum, value) => sum + value, 0) / plane - mean)
  })
  return {
    mean: differences.reduce((sum, value) => sum + value, 0) / differences.length,
    max: Math.max(...differences),
    channelMean: Math.max(...channelMeans),
  }
}

const within = (measured: Bound, bound: Bound) =>
  measured.mean <= bound.mean && measured.max <= bound.max && measured.channelMean <= bound.channelMean

const linux = process.platform === 'linux'
const describeOnLinux = linux ? describe : describe.skip
const decoders = [
  ['libturbojpeg', describeOnLinux, 'libturbojpeg decodes JPEGs (Linux only)'],
  ['sharp', describe, 'sharp decodes everything'],
] as const

for (const [decoder, describeIf, title] of decoders) {
  describeIf(`an image becomes the tensor that torchvision makes: ${title}`, () => {
    beforeAll(() => {
      mockDecoder = decoder
    })
    afterAll(() => {
      mockDecoder = 'libturbojpeg'
    })

    it('is decoded so', () => {
      expect(jpegLibrary()).toEqual(
        decoder === 'sharp'
          ? { reason: expect.any(String) }
          : { path: expect.stringMatching(/libturbojpeg\.so\.0$/) },
      )
    })

    it.each(cases.map((row) => [`${row.image}, ${row.preset} (${row.interpolation})`, row] as const))(
      '%s',
      async (_, row) => {
        const measured = await compare(row, { ...row, source: 'test' })
        expect({ ...measured, ok: within(measured, exact) }).toMatchObject({ ok: true })
      },
    )
  })
}

test.each(cases.map((row) => [`${row.image}, ${row.preset}`, row] as const))(
  'levels for a device to normalise are those: %s',
  async (_, row) => {
    const preset = { ...row, source: 'test' }
    const image = path.join(folder, row.image)
    const [{ data }, levels] = await Promise.all([
      preprocess(image, preset),
      preprocess(image, preset, { form: 'uint8' }),
    ])
    const channels = row.mean.length
    const plane = levels.height * levels.width
    const { fround } = Math
    const normalised = Float32Array.from({ length: channels * plane }, (_, i) => {
      const channel = Math.floor(i / plane)
      const level = fround(((levels.data as Uint8Array)[(i % plane) * channels + channel] as number) / 255)
      return fround(fround(level - fround(row.mean[channel] as number)) / fround(row.std[channel] as number))
    })
    expect(Buffer.from(normalised.buffer).equals(Buffer.from(data.buffer))).toBe(true)
  },
)

describe('the comparison can fail', () => {
  const row = (preset: string) =>
    cases.find((it) => it.image === 'flower.jpg' && it.preset === preset) as Case
  const mistakes: [string, Case, Partial<Preprocessing>][] = [
    ['the other preset of torchvision', row('torchvision-v1'), { resize: 232 }],
    ['the other interpolation', row('timm'), { interpolation: 'bilinear' }],
    ['a crop of another shape', row('squashed'), { resize: 224, crop: [224, 192] }],
    ['swapped channels', row('torchvision-v1'), { mean: [0.406, 0.456, 0.485], std: [0.225, 0.224, 0.229] }],
  ]
  it.each(mistakes)('%s', async (_, expected, wrong) => {
    const measured = await compare(expected, { ...expected, ...wrong, source: 'test' })
    expect(within(measured, exact)).toBe(false)
  })

  it.each(['flower.jpg', 'china.jpg'])("a JPEG's own luma in place of convert('L'): %s", (image) => {
    const { levels, luma = levels } = cases.find((it) => it.luma !== undefined && it.image === image) as Case
    const differences = levels.map((level, i) => Math.abs(level - (luma[i] as number)))
    const mean = differences.reduce((sum, value) => sum + value, 0) / levels.length
    expect(within({ mean, max: Math.max(...differences), channelMean: 0 }, exact)).toBe(false)
  })

  it('a window moved by one pixel', async () => {
    const expected = row('torchvision-v1')
    const moved = await sharp(path.join(folder, 'flower.jpg'))
      .extract({ left: 2, top: 0, width: 638, height: 427 })
      .raw()
      .toBuffer()
    const preset = { ...expected, source: 'test' }
    const result = await preprocess({ data: moved, width: 638, height: 427, channels: 3 }, preset)
    const differences = expected.levels.map((level, i) => {
      const at = i * expected.step
      const channel = Math.floor(at / (224 * 224))
      const value = result.data[at] as number
      return Math.abs(
        (value * (expected.std[channel] as number) + (expected.mean[channel] as number)) * 255 - level,
      )
    })
    expect(Math.max(...differences)).toBeGreaterThan(1)
  })
})
