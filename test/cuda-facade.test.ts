// The facade over the CUDA backend on the simulated device: how pictures and tensors reach it. Needs the library that the native
// tests build; `npm test` builds it where the CUDA toolchain can be had.
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import type { Lane, RunCall } from '../binding.js'
import type { Engine } from '../lib/engine.js'
import { preprocess } from '../lib/image/decode.js'
import type { ArchitectureOptions, CreateOptions } from '../lib/index.js'
import { models, ResNet, Tensor } from '../lib/index.js'
import { addon } from '../lib/native/call.js'
import { cudaBackend } from '../lib/native/plugin.js'
import type { DeviceStorage } from '../lib/native/storage.js'
import { eventually } from './support/eventually.js'

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
const create = (options: CreateOptions, architecture: ArchitectureOptions = spec) =>
  ResNet.create(architecture, { preprocess: preprocess32, ...onDevice, ...options })

const engineOf = (model: ResNet) => (model as unknown as { engine: Engine }).engine
async function firstLane(model: ResNet): Promise<Lane> {
  type Made = { made: { lanes: { all: Promise<Lane>[] } } }
  type Families = Map<string, Map<number, Made>>
  const { programs } = engineOf(model) as unknown as { programs: { families: Families } }
  const [buckets] = programs.families.values() as unknown as [Map<number, Made>]
  const [{ made }] = buckets.values() as unknown as [Made]
  return made.lanes.all[0] as Promise<Lane>
}

const withPlugin = existsSync(plugin) ? describe : describe.skip
withPlugin('pictures on the simulated CUDA device', () => {
  test.each(['float32', 'float16', 'bfloat16'] as const)(
    'are normalised there, to the bit as the host does: %s',
    async (dtype) => {
      await using model = await create({ dtype })
      expect(engineOf(model).form).toBe('uint8')
      for (const image of colour) {
        const { data, height, width } = await preprocess(image, model.preprocessing)
        const onHost = await model.embed(Tensor.from(data, [1, 3, height, width]))
        expect(await model.embed(image)).toEqual(onHost)
      }
    },
  )

  test.each([
    ['bilinear', { resize: 40, crop: 32 }],
    ['bicubic', { resize: 40, crop: 32, interpolation: 'bicubic' }],
    ['enlarged', { resize: [700, 700], crop: [28, 36], interpolation: 'bicubic' }],
    ['squashed', { resize: [33, 29], crop: null }],
    ['a crop larger than the picture', { resize: 20, crop: 33 }],
    ['a crop wider than the picture', { resize: 30, crop: [16, 64], interpolation: 'bicubic' }],
    ['as they are', { resize: null, crop: [24, 20] }],
  ] as [string, CreateOptions['preprocess']][])(
    'are resized there, to the bit as the host does: %s',
    async (_, preset) => {
      await using host = await create({ preprocess: preset })
      await using device = await create({ preprocess: preset, preprocessOn: 'device' })
      expect(engineOf(device).form).toBe('picture')
      // Sizes and colours of all kinds in one batch.
      expect(await device.embed(colour)).toEqual(await host.embed(colour))
      expect(await device.classify(colour)).toEqual(await host.classify(colour))
    },
  )

  test('decoded at half the size are resized as the host does', async () => {
    const options = { jpegScaling: true, preprocess: { resize: 40, crop: 32 } }
    await using host = await create(options)
    await using device = await create({ ...options, preprocessOn: 'device' })
    await using whole = await create({ preprocessOn: 'device' })
    const features = await device.embed(colour[0] as string)
    expect(features).toEqual(await host.embed(colour[0] as string))
    expect(features).not.toEqual(await whole.embed(colour[0] as string))
  })

  test('of a network of one channel, and grey ones for three', async () => {
    const grey = { ...spec, inChannels: 1 }
    await using host = await create({}, grey)
    await using device = await create({ preprocessOn: 'device' }, grey)
    expect(await device.embed(colour)).toEqual(await host.embed(colour))
  })

  test('in memory of the caller, which is free at once', async () => {
    await using host = await create({})
    await using device = await create({ preprocessOn: 'device', maxBatch: 2 })
    const pixels = Uint8Array.from({ length: 50 * 41 * 3 }, (_, i) => (i * i) >> 3)
    const picture = { data: pixels, width: 41, height: 50, channels: 3 } as const
    const expected = await host.embed(picture)
    const found = device.embed([picture, colour[1] as string, picture])
    await new Promise(setImmediate)
    pixels.fill(0)
    const { data, shape } = await found
    const width = shape[1] as number
    expect(data.subarray(0, width)).toEqual(expected.data)
    expect(data.subarray(2 * width)).toEqual(expected.data)
  })

  test('come from streams in order, and leave nothing behind', async () => {
    const pictures = () => addon().counters().pictures
    const before = pictures()
    await using host = await create({})
    await using device = await create({ preprocessOn: 'device', maxBatch: 4, lanes: 2 })
    const source = Array.from({ length: 24 }, (_, i) => colour[i % colour.length] as string)
    source[7] = 'nowhere.png'
    const expected = await Promise.all(colour.map((image) => host.classify(image)))
    let i = 0
    for await (const { input, predictions, error } of device.classifyStream(source)) {
      expect(input).toBe(source[i])
      if (i === 7) expect(error).toMatchObject({ code: 'ERR_RESNET_IO' })
      else expect(predictions).toEqual(expected[i % colour.length])
      ++i
    }
    expect(i).toBe(24)
    // One that cannot be read fails a call whose other pictures are decoded.
    await expect(device.embed([...colour, 'nowhere.png'])).rejects.toMatchObject({ index: colour.length })
    const abort = new AbortController()
    const aborted = device.embed(colour, { signal: abort.signal })
    setTimeout(() => abort.abort(new Error('enough')), 3)
    await aborted.catch((error) => expect(error.message).toBe('enough'))
    await eventually(pictures, before)
    expect(pictures()).toBe(before)
  })

  test('are warmed up for', async () => {
    await using device = await create({ preprocessOn: 'device' })
    await device.warmup({ height: 32, width: 32 })
    expect(device.stats().memory.programs).toBe(1)
    await device.classify(colour[0] as string)
    expect(device.stats().memory.programs).toBe(1)
  })

  test.each(['host', 'device'] as const)(
    'of the embedded model give its classes: %s',
    async (preprocessOn) => {
      await using cpu = await ResNet.load(models.digits, { device: 'cpu' })
      await using cuda = await ResNet.load(models.digits, { ...onDevice, preprocessOn })
      const expected = await cpu.classify(digits, { topK: 1 })
      const found = await cuda.classify(digits, { topK: 1 })
      expect(found.map(([best]) => best?.index)).toEqual(expected.map(([best]) => best?.index))
      for (const [i, [best]] of found.entries()) {
        expect(best?.score).toBeCloseTo(expected[i]?.[0]?.score as number, 2)
      }
    },
  )
})

withPlugin('tensors on the simulated CUDA device', () => {
  const values = (n: number) => Float32Array.from({ length: n }, (_, i) => Math.cos(i))

  test.each(['float16', 'bfloat16'] as const)('of %s go into networks as they are', async (dtype) => {
    // 0.5, -1.5 and 3: exact in both.
    const bits = { float16: [0x3800, 0xbe00, 0x4200], bfloat16: [0x3f00, 0xbfc0, 0x4040] }[dtype]
    const data = Uint16Array.from({ length: 2 * 3 * 9 * 8 }, (_, i) => bits[(i * i) % 3] as number)
    await using model = await create({ dtype })
    for (const layout of ['nchw', 'nhwc'] as const) {
      const half = Tensor.from(data, [2, 3, 9, 8], { dtype, layout })
      const expected = await model.forward(half.toFloat32())
      expect(await model.forward(half)).toEqual(expected)
      using there = await half.to('cuda')
      expect(await model.forward(there)).toEqual(expected)
    }
  })

  test('go from network to network without coming to the host', async () => {
    await using first = await create({})
    await using second = await create({ dtype: 'bfloat16' }, { ...spec, inChannels: 8 })
    const x = Tensor.from(values(2 * 3 * 12 * 10), [2, 3, 12, 10])
    const expected = await second.forward((await first.features(x, ['layer1'])).layer1)

    using there = await x.to('cuda')
    const memory = Object.getPrototypeOf((there as unknown as { storage: DeviceStorage }).storage.memory)
    const lane = Object.getPrototypeOf(await firstLane(first))
    const upload = jest.spyOn(memory, 'upload')
    const download = jest.spyOn(memory, 'download')
    const run = jest.spyOn(lane, 'run')
    try {
      const { layer1 } = await first.features(there, ['layer1'], { output: 'device' })
      using maps = layer1
      using logits = await second.forward(maps, { output: 'device' })
      expect(run).toHaveBeenCalledTimes(2)
      for (const [{ inputs, outputs }] of run.mock.calls as [RunCall][]) {
        expect([...inputs.flat(), ...outputs.flat()].filter(ArrayBuffer.isView)).toEqual([])
      }
      expect([upload, download].map((spy) => spy.mock.calls.length)).toEqual([0, 0])
      expect((await logits.to('cpu')).data).toEqual(expected.data)
      expect(download).toHaveBeenCalledTimes(1)
    } finally {
      for (const spy of [upload, download, run]) spy.mockRestore()
    }
  })

  test('leave nothing behind in 10,000 turns', async () => {
    const { plugin: library } = await cudaBackend(addon())
    await using model = await create({ memoryLimit: 2 ** 26 })
    const device = engineOf(model).lease?.device
    if (library === undefined || device === undefined) throw new Error('the model is not on the device')
    const counts = () => {
      const { deviceMemories, devices, programs, lanes, runsInFlight } = addon().counters()
      const { tensors, arenas, staging, weights } = device.memory()
      return {
        ...library.liveCounts(),
        ...{ deviceMemories, devices, programs, lanes, runsInFlight },
        ...{ tensors, arenas, staging, weights },
      }
    }
    const x = Tensor.from(values(3 * 9 * 8), [1, 3, 9, 8])
    const turn = async (i: number) => {
      using there = await x.to('cuda')
      if (i % 100 === 0) {
        using pooled = await model.embed(there, { output: 'device' })
        expect((await pooled.to('cpu')).data[0]).toBe(first.data[0])
      } else if (i % 10 === 0) {
        expect((await there.to('cpu')).data[5]).toBe(x.data[5])
      } else if (i % 7 === 0) {
        const abort = new AbortController()
        const copy = x.to('cuda', { signal: abort.signal })
        abort.abort(new Error('enough'))
        await expect(copy).rejects.toThrow('enough')
      }
    }
    const first = await model.embed(x)
    await turn(0)
    // By then what went before is let go of, whatever it was.
    await new Promise((resolve) => setTimeout(resolve, 2000))
    const begun = counts()
    for (let i = 0; i < 10_000; i += 20) {
      await Promise.all(Array.from({ length: 20 }, (_, j) => turn(i + j)))
    }
    expect(await eventually(counts, begun)).toEqual(begun)
    // The counts see one that is kept.
    const kept = await x.to('cuda')
    expect(counts()).toEqual({
      ...begun,
      buffers: begun.buffers + 1,
      deviceMemories: begun.deviceMemories + 1,
    })
    kept.dispose()
    expect(await eventually(counts, begun)).toEqual(begun)
  })

  test('are not made when the signal has aborted', async () => {
    const reason = new Error('enough')
    const aborted = { signal: AbortSignal.abort(reason) }
    const x = Tensor.from(values(4), [4])
    await expect(x.to('cuda', aborted)).rejects.toBe(reason)
    using there = await x.to('cuda')
    await expect(there.to('cpu', aborted)).rejects.toBe(reason)
    await expect(x.to('cuda', { signal: 1 } as never)).rejects.toMatchObject({
      code: 'ERR_RESNET_INVALID_ARGUMENT',
    })
    expect((await there.to('cpu')).data).toEqual(x.data)
  })
})
