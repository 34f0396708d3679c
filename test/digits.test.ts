import { readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { models, type RawPixels, ResNet } from '../lib/index.js'

interface HeldOut {
  width: number
  height: number
  labels: string
  predictions: string
  correct: number
  correctInverted: number
}

const fixtures = path.join(__dirname, 'fixtures')
const heldOut = JSON.parse(readFileSync(path.join(fixtures, 'digits-heldout.json'), 'utf8')) as HeldOut
const pixels = readFileSync(path.join(fixtures, 'digits-heldout.bin'))
const samples = path.join(__dirname, '..', 'models', 'samples')

/** Held-out images as raw grey pixels, dark ink on white. */
function images(change: (gray: number) => number): RawPixels[] {
  const { width, height, labels } = heldOut
  const size = width * height
  return [...labels].map((_, image) => ({
    data: pixels.subarray(image * size, (image + 1) * size).map(change),
    width,
    height,
    channels: 1,
  }))
}

const correct = (predictions: string) =>
  [...predictions].filter((digit, image) => digit === heldOut.labels[image]).length

describe('the embedded model', () => {
  let model: ResNet
  beforeAll(async () => {
    model = await ResNet.load(models.digits, { device: 'cpu' })
  })
  afterAll(() => model.dispose())

  const read = async (list: RawPixels[]) => {
    const predictions = await model.classify(list, { topK: 1 })
    return predictions.map(([best]) => best?.index).join('')
  }

  test('says what it is', () => {
    expect(model.architecture).toMatchObject({ name: 'resnet20', inChannels: 1, numClasses: 10 })
    expect(model.labels).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((digit) => `handwritten ${digit}`))
    expect(model.preprocessing).toMatchObject({ resize: [16, 16], crop: null, mean: [0.5], std: [0.5] })
    expect(statSync(models.digits).size).toBeLessThan(600_000)
  })

  // models/README.md states these; the resize is sharp's here and PIL's there, worth an image or two.
  test('reads the held-out digits as models/README.md says', async () => {
    expect(heldOut.labels).toHaveLength(360)
    const answers = await read(images((gray) => gray))
    expect(correct(answers)).toBeGreaterThanOrEqual(heldOut.correct - 1)
    const differing = [...answers].filter((digit, image) => digit !== heldOut.predictions[image])
    expect(differing.length).toBeLessThanOrEqual(2)
  })

  test('reads light digits on dark paper as well', async () => {
    expect(correct(await read(images((gray) => 255 - gray)))).toBeGreaterThanOrEqual(
      heldOut.correctInverted - 1,
    )
  })

  test('is told from a guess: labels moved by one leave next to none right', async () => {
    const moved = [...(await read(images((gray) => gray)))].map((digit) => (Number(digit) + 1) % 10).join('')
    expect(correct(moved)).toBeLessThan(5)
  })

  test('reads every sample', async () => {
    const files = readdirSync(samples).filter((file) => file.endsWith('.png'))
    expect(files).toHaveLength(10)
    for (const file of files) {
      const [best] = await model.classify(path.join(samples, file), { topK: 1 })
      expect(`${best?.label}.png`).toBe(`handwritten ${file}`)
      expect(best?.score).toBeGreaterThan(0.5)
    }
  })
})
