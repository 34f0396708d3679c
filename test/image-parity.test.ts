// Preprocessed images against torchvision's transforms on PIL images (test/fixtures/images/expected.json).
import { readFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import { preprocess } from '../lib/image/decode.js'
import type { ImageSize, Preprocessing } from '../lib/image/types.js'

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
}

const folder = path.join(__dirname, 'fixtures', 'images')
const { cases } = JSON.parse(readFileSync(path.join(folder, 'expected.json'), 'utf8')) as { cases: Case[] }

/** Levels of 0..255: mean and largest difference, and the largest difference of a channel's mean after normalising. */
interface Bound {
  mean: number
  max: number
  channelMean: number
}
/** float32 rounding only: what is not resized, is enlarged, or is small. */
const exact: Bound = { mean: 1e-3, max: 1e-2, channelMean: 1e-5 }
/** libvips works with other rounding and coefficients than Pillow. */
const shrunkBilinear: Bound = { mean: 0.25, max: 2, channelMean: 0.002 }
const shrunkBicubic: Bound = { mean: 0.25, max: 5, channelMean: 0.001 }
/** From a factor of 4 on libvips averages whole blocks of pixels first. */
const shrunkMuch: Bound = { mean: 1.2, max: 14, channelMean: 0.005 }

function boundOf({ image, preset, interpolation }: Case): Bound {
  const enlargesChina = image === 'china.jpg' && ['torchvision-v1', 'odd-margins'].includes(preset)
  if (['whole', 'enlarged', 'small', 'small-grey'].includes(preset) || enlargesChina) return exact
  if (preset === 'grey' && image === 'flower.jpg') return shrunkMuch
  if (preset === 'grey') return { ...shrunkBilinear, mean: 0.35, channelMean: 0.005 }
  return interpolation === 'bilinear' ? shrunkBilinear : shrunkBicubic
}

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

describe('an image becomes the tensor that torchvision makes', () => {
  it.each(cases.map((row) => [`${row.image}, ${row.preset} (${row.interpolation})`, row] as const))(
    '%s',
    async (_, row) => {
      const measured = await compare(row, { ...row, source: 'test' })
      const bound = boundOf(row)
      expect({ ...measured, bound, ok: within(measured, bound) }).toMatchObject({ ok: true })
    },
  )
})

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
    expect(within(measured, boundOf(expected))).toBe(false)
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
    expect(Math.max(...differences)).toBeGreaterThan(shrunkBilinear.max)
  })
})
