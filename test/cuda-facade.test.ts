// The facade over the CUDA backend on the simulated device: how pictures and tensors reach it. Needs the library that the native
// tests build; `npm test` builds it where the CUDA toolchain can be had.
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { preprocess } from '../lib/image/decode.js'
import type { CreateOptions } from '../lib/index.js'
import { models, ResNet, Tensor } from '../lib/index.js'

const plugin =
  process.env.RESNET_SIMULATED_PLUGIN ??
  path.join(__dirname, '..', 'build', 'test', 'cuda', 'libresnet_cuda.so')
const before = process.env.RESNET_CUDA_PLUGIN
beforeAll(() => {
  process.env.RESNET_CUDA_PLUGIN = plugin
})
afterAll(() => {
  if (before === undefined) delete process.env.RESNET_CUDA_PLUGIN
  else process.env.RESNET_CUDA_PLUGIN = before
})

const samples = path.join(__dirname, '..', 'models', 'samples')
const digits = readdirSync(samples).map((name) => path.join(samples, name))
const fixture = (name: string) => path.join(__dirname, 'fixtures', 'images', name)
const colour = ['flower.jpg', 'china.jpg', 'cmyk.jpg', 'grey.png', 'rgba.png', 'orientation-6.jpg'].map(
  fixture,
)

// What computes a launch is the host: few and small convolutions.
const spec = { block: 'basic', depths: [1], widths: [8], stem: 'cifar', numClasses: 5 } as const
const preprocess32 = { resize: 40, crop: 32 } as const
const onDevice = { device: 'cuda', engineCache: false, autotune: 'off' } as const
const create = (options: CreateOptions) =>
  ResNet.create(spec, { preprocess: preprocess32, ...onDevice, ...options })

const withPlugin = existsSync(plugin) ? describe : describe.skip
withPlugin('pictures on the simulated CUDA device', () => {
  test.each(['float32', 'float16', 'bfloat16'] as const)(
    'are normalised there, to the bit as the host does: %s',
    async (dtype) => {
      await using model = await create({ dtype })
      expect(model['engine'].form).toBe('uint8')
      for (const image of colour) {
        const { data, height, width } = await preprocess(image, model.preprocessing)
        const onHost = await model.embed(Tensor.from(data, [1, 3, height, width]))
        expect(await model.embed(image)).toEqual(onHost)
      }
    },
  )

  test('of the embedded model give its classes', async () => {
    await using cpu = await ResNet.load(models.digits, { device: 'cpu' })
    await using cuda = await ResNet.load(models.digits, onDevice)
    const expected = await cpu.classify(digits, { topK: 1 })
    const found = await cuda.classify(digits, { topK: 1 })
    expect(found.map(([best]) => best?.index)).toEqual(expected.map(([best]) => best?.index))
    for (const [i, [best]] of found.entries()) {
      expect(best?.score).toBeCloseTo(expected[i]?.[0]?.score as number, 2)
    }
  })
})
