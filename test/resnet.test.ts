import { spawnSync } from 'node:child_process'
import { getEventListeners } from 'node:events'
import path from 'node:path'
import sharp from 'sharp'
import { models, ResNet, Tensor } from '../lib/index.js'
import { loadBinding } from '../lib/native/load.js'
import { packageRoot } from '../lib/root.js'
import { refusal } from './support/refusal.js'
import { safetensors } from './support/safetensors.js'
import { parameters, small, smallOptions } from './support/small-network.js'

const bytes = safetensors(parameters(small))
const preprocess = {
  resize: null,
  crop: null,
  interpolation: 'bilinear',
  mean: [0, 0, 0],
  std: [1, 1, 1],
} as const
const load = (options = {}) => ResNet.load(bytes, { preprocess, ...options })
const images = (n: number, [h, w] = [9, 7]) => {
  const size = 3 * (h as number) * (w as number)
  // Eighths: what uint8 pixels and float32 both hold exactly.
  return Tensor.from(
    Float32Array.from({ length: n * size }, (_, i) => ((i * 7) % 256) / 255),
    [n, 3, h, w] as number[],
  )
}
/** The pixels of one image of `images`, as an image. */
function picture(x: Tensor, index: number) {
  const [, c, height, width] = x.shape as [number, number, number, number]
  const { data } = x.toLayout('nhwc')
  const size = c * height * width
  const pixels = Uint8Array.from(data.subarray(index * size, (index + 1) * size), (value) =>
    Math.round(value * 255),
  )
  return { data: pixels, width, height, channels: 3 as const }
}
const rows = ({ data, shape }: Tensor) => {
  const [n, d] = shape as [number, number]
  return Array.from({ length: n }, (_, i) => Array.from(data.subarray(i * d, (i + 1) * d)))
}
const close = (values: readonly number[]) => values.map((value) => expect.closeTo(value, 5))

const alive = () => {
  const { checkpoints, weights, programs, lanes } = loadBinding().counters()
  return { checkpoints, weights, programs, lanes }
}
/** What is alive once nothing changes any more: native memory is given back on other threads. */
async function settled() {
  for (let last = alive(); ; ) {
    await new Promise((resolve) => setTimeout(resolve, 50))
    const now = alive()
    if (JSON.stringify(now) === JSON.stringify(last)) return now
    last = now
  }
}

let model: ResNet
beforeAll(async () => {
  model = await load({ maxBatch: 4, labels: ['a', 'b', 'c'] })
})
afterAll(() => model.dispose())

describe('forward, embed, features', () => {
  test('a batch above maxBatch is split, with the results of single images', async () => {
    const x = images(11)
    const logits = await model.forward(x)
    expect(logits).toMatchObject({ shape: [11, 3], dtype: 'float32', layout: 'nchw' })
    const size = x.size / 11
    for (const [i, row] of rows(logits).entries()) {
      const alone = Tensor.from(x.data.slice(i * size, (i + 1) * size), [1, 3, 9, 7])
      expect(close(row)).toEqual(rows(await model.forward(alone))[0])
    }
  })

  test('memory order does not matter', async () => {
    const x = images(3)
    expect((await model.forward(x.toLayout('nhwc'))).data).toEqual((await model.forward(x)).data)
  })

  test('uint8 is pixels: divided by 255, normalised', async () => {
    const normalised = await load({ preprocess: { ...preprocess, mean: [0.5, 0.25, 0], std: [0.5, 1, 2] } })
    const x = images(2)
    const pixels = Tensor.from(
      Uint8Array.from(x.data, (value) => Math.round(value * 255)),
      [...x.shape],
    )
    const scaled = Float32Array.from(x.data, (value, i) => {
      const channel = Math.floor(i / 63) % 3
      return (value - ([0.5, 0.25, 0][channel] as number)) / ([0.5, 1, 2][channel] as number)
    })
    const expected = await normalised.forward(Tensor.from(scaled, [...x.shape]))
    expect(Array.from((await normalised.forward(pixels)).data)).toEqual(close(Array.from(expected.data)))
    await normalised.dispose()
  })

  test('the embedding is the mean of the last stage', async () => {
    const x = images(2)
    const { layer2 } = await model.features(x, ['layer2'])
    expect(layer2.shape).toEqual([2, 32, 5, 4])
    const means = Array.from({ length: 64 }, (_, i) => {
      const map = layer2.data.subarray(i * 20, (i + 1) * 20)
      return Array.from(map).reduce((sum, value) => sum + value, 0) / 20
    })
    const pooled = await model.embed(x)
    expect(pooled.shape).toEqual([2, 32])
    expect(Array.from(pooled.data)).toEqual(close(means))
  })

  test('stages: the stem is after its relu; several at once; in any order', async () => {
    const { layer1, stem } = await model.features(images(1), ['layer1', 'stem', 'layer1'])
    expect(stem.shape).toEqual([1, 4, 9, 7])
    expect(layer1.shape).toEqual([1, 16, 9, 7])
    expect(Math.min(...stem.data)).toBe(0)
  })

  test.each([
    [
      'a stage that is not there',
      () => model.features(images(1), ['layer3']),
      "'stem', 'layer1', 'layer2', received 'layer3'",
    ],
    ['no stage', () => model.features(images(1), []), 'stages'],
    ['images into forward', () => model.forward('a.png' as never), "received 'a.png'"],
    ['two dimensions', () => model.forward(Tensor.from(new Float32Array(6), [2, 3])), '[N, 3, H, W]'],
    [
      'channels last in the shape',
      () => model.embed(Tensor.from(new Float32Array(75), [1, 5, 5, 3])),
      "'nhwc'",
    ],
    ['int32', () => model.embed(Tensor.from(new Int32Array(75), [1, 3, 5, 5])), 'int32'],
    ['an option that is not there', () => model.embed(images(1), { topK: 1 } as never), "'topK'"],
    ['no images', () => model.embed([]), 'at least one'],
    ['no size to warm up for', () => model.warmup({ height: 9 } as never), 'width'],
  ])('wrong use is named: %s', async (_, call, word) => {
    const error = await refusal(call)
    expect(error.code).toBe('ERR_RESNET_INVALID_ARGUMENT')
    expect(error.message).toContain(word)
  })
})

describe('classify', () => {
  test('scores are the softmax of the logits, best first', async () => {
    const x = images(1)
    const [logits = []] = rows(await model.forward(x))
    const exponentials = logits.map((value) => Math.exp(value))
    const sum = exponentials.reduce((total, value) => total + value, 0)
    const expected = exponentials
      .map((value, index) => ({ label: 'abc'[index], index, score: expect.closeTo(value / sum, 5) }))
      .sort((a, b) => (logits[b.index] as number) - (logits[a.index] as number))
    expect(await model.classify(picture(x, 0))).toEqual(expected)
    expect(await model.classify(picture(x, 0), { topK: 1 })).toEqual(expected.slice(0, 1))
  })

  test('an image gives a list, an array or a tensor a list of lists', async () => {
    const x = images(6)
    const alone = await Promise.all([0, 1, 2, 3, 4, 5].map((i) => model.classify(picture(x, i))))
    const together = await model.classify([0, 1, 2, 3, 4, 5].map((i) => picture(x, i)))
    const indices = (lists: { index: number }[][]) => lists.map((list) => list.map(({ index }) => index))
    expect(indices(together)).toEqual(indices(alone))
    expect(indices(await model.classify(x))).toEqual(indices(alone))
  })

  test('encoded bytes', async () => {
    const { data, width, height, channels } = picture(images(1), 0)
    const png = await sharp(data, { raw: { width, height, channels } }).png().toBuffer()
    const [best] = await model.classify(png, { topK: 1 })
    const [expected] = await model.classify(images(1), { topK: 1 })
    expect(best).toEqual({ ...expected?.[0], score: expect.closeTo(expected?.[0]?.score as number, 5) })
  })

  test('images of different sizes go together, maps of them do not', async () => {
    const mixed = [picture(images(1, [8, 6]), 0), picture(images(1), 0), picture(images(1, [8, 6]), 0)]
    const pooled = rows(await model.embed(mixed))
    const [first = []] = rows(await model.embed(images(1, [8, 6])))
    const [second = []] = rows(await model.embed(images(1)))
    expect(pooled).toEqual([close(first), close(second), close(first)])
    const error = await refusal(() => model.features(mixed, ['layer1']))
    expect(error).toMatchObject({ code: 'ERR_RESNET_INVALID_ARGUMENT', index: 1 })
  })

  test('one bad image rejects its call with its index, other calls are untouched', async () => {
    const good = picture(images(1), 0)
    const bad = model.classify([good, good, good, good, good, new Uint8Array(0)])
    const other = model.classify([good])
    expect(await refusal(() => bad)).toMatchObject({ code: 'ERR_RESNET_IMAGE', index: 5 })
    expect(await other).toHaveLength(1)
    expect((await refusal(() => model.classify(Buffer.from('no image')))).index).toBeUndefined()
  })

  test('without a head', async () => {
    const headless = await ResNet.create({ ...smallOptions, numClasses: 0 })
    expect(headless.labels).toEqual([])
    for (const call of [() => headless.classify(images(1)), () => headless.forward(images(1))]) {
      expect((await refusal(call)).code).toBe('ERR_RESNET_UNSUPPORTED')
    }
    expect((await headless.embed(images(1))).shape).toEqual([1, 32])
    await headless.warmup({ height: 9, width: 7 })
    await headless.dispose()
  })
})

describe('create', () => {
  test('the seed decides', async () => {
    const run = async (seed: number) => {
      const created = await ResNet.create(smallOptions, { seed })
      const { data } = await created.forward(images(1))
      await created.dispose()
      return data
    }
    expect(await run(1)).toEqual(await run(1))
    expect(await run(1)).not.toEqual(await run(2))
  })

  test('a net of 1,001 layers stays finite', async () => {
    const deep = await ResNet.create(
      { block: 'bottleneck', depths: [3, 94, 233, 3], widths: [4, 8, 8, 8], numClasses: 5 },
      { maxBatch: 1 },
    )
    const { data } = await deep.forward(images(1, [33, 47]))
    expect(data.every(Number.isFinite)).toBe(true)
    expect(new Set(data).size).toBe(5)
    const { layer4 } = await deep.features(images(1, [33, 47]), ['layer4'])
    expect(Math.max(...layer4.data)).toBeLessThan(1e3)
    await deep.dispose()
  })

  test('classes, channels and output stride', async () => {
    const created = await ResNet.create('resnet18', {
      numClasses: 7,
      inChannels: 1,
      outputStride: 16,
      seed: 3,
    })
    expect(created.architecture).toMatchObject({
      name: 'resnet18',
      numClasses: 7,
      inChannels: 1,
      outputStride: 16,
    })
    const x = Tensor.from(new Float32Array(32 * 48).fill(0.5), [1, 1, 32, 48])
    expect((await created.features(x, ['layer4'])).layer4.shape).toEqual([1, 512, 2, 3])
    await created.dispose()
  })

  test('a name that is none', async () => {
    const error = await refusal(() => ResNet.create('resnet19'))
    expect(error.message).toContain("did you mean 'resnet1")
  })
})

describe('abort', () => {
  const reason = new Error('no longer wanted')

  test('before, while waiting, and while running: the reason, and the model goes on', async () => {
    const large = images(8, [160, 160])
    await expect(model.forward(large, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    const abort = new AbortController()
    const first = model.forward(large)
    const running = model.forward(large, { signal: abort.signal })
    const waiting = model.forward(large, { signal: abort.signal })
    const last = model.forward(images(1))
    setTimeout(() => abort.abort(reason), 5)
    await expect(running).rejects.toBe(reason)
    await expect(waiting).rejects.toBe(reason)
    expect((await first).shape).toEqual([8, 3])
    expect(rows(await last)).toEqual(rows(await model.forward(images(1))))
  })

  test('a run that is under way stops', async () => {
    const slow = await ResNet.create('resnet50', { maxBatch: 4 })
    const x = images(4, [224, 224])
    await slow.forward(x)
    const begun = performance.now()
    await slow.forward(x)
    const whole = performance.now() - begun
    const abort = new AbortController()
    const running = slow.forward(x, { signal: abort.signal })
    setTimeout(() => abort.abort(reason), whole / 10)
    const start = performance.now()
    await expect(running).rejects.toBe(reason)
    expect(performance.now() - start).toBeLessThan(whole * 0.8)
    await slow.dispose()
  })

  test('one signal for many calls leaves no listeners and no warning', async () => {
    const { signal } = new AbortController()
    await Promise.all(Array.from({ length: 30 }, () => model.forward(images(1), { signal })))
    expect(getEventListeners(signal, 'abort')).toEqual([])
    // Warnings go to the real process, which a test of jest cannot listen to.
    const program = `
      const { ResNet, Tensor } = require(${JSON.stringify(path.join(packageRoot, 'dist'))})
      ResNet.create(${JSON.stringify(smallOptions)}).then(async (model) => {
        const { signal } = new AbortController()
        const x = Tensor.from(new Float32Array(192), [1, 3, 8, 8])
        await Promise.all(Array.from({ length: 30 }, () => model.forward(x, { signal })))
      })`
    const { status, stderr } = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8' })
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  })

  test('the decoding of images', async () => {
    const abort = new AbortController()
    const running = model.classify([picture(images(1), 0)], { signal: abort.signal })
    abort.abort(reason)
    await expect(running).rejects.toBe(reason)
  })
})

describe('dispose', () => {
  test('lets a running call finish, rejects waiting and new ones, is idempotent', async () => {
    const disposable = await load({ maxBatch: 2 })
    const running = disposable.forward(images(7))
    const waiting = disposable.forward(images(1))
    await new Promise((resolve) => setImmediate(resolve))
    const disposal = disposable.dispose()
    expect(disposable.dispose()).toBe(disposal)
    expect((await refusal(() => waiting)).code).toBe('ERR_RESNET_DISPOSED')
    expect((await refusal(() => disposable.classify(images(1)))).code).toBe('ERR_RESNET_DISPOSED')
    expect((await running).shape).toEqual([7, 3])
    await disposal
    await disposable[Symbol.asyncDispose]()
    expect((await refusal(() => disposable.warmup({ height: 8, width: 8 }))).code).toBe('ERR_RESNET_DISPOSED')
  })

  test('nothing native is left', async () => {
    const before = await settled()
    const disposable = await load()
    for (const size of [5, 6, 7, 8, 9, 10]) await disposable.forward(images(1, [size, size]))
    const during = await settled()
    expect(during.checkpoints - before.checkpoints).toBe(1)
    // Six sizes, of which the last four are kept.
    expect(during.programs - before.programs).toBe(4)
    await disposable.dispose()
    expect(await settled()).toEqual(before)
  })

  test('a load that fails leaves nothing', async () => {
    const before = await settled()
    await refusal(() => load({ labels: ['too', 'few'] }))
    await refusal(() => load({ architecture: 'resnet18' }))
    expect(await settled()).toEqual(before)
  })
})

describe('warmup', () => {
  test.each([
    ['latency', 2, 2],
    // With four threads, two and one.
    ['auto', 4, 6],
  ] as const)('compiles what the call needs: lanes %s of %d threads', async (lanes, threads, expected) => {
    const warmed = await load({ maxBatch: 4, lanes, threads })
    const programs = async () => (await settled()).programs
    const before = await programs()
    await warmed.warmup({ height: 9, width: 7, batches: [1, 3], method: 'forward' })
    expect((await programs()) - before).toBe(expected)
    await warmed.forward(images(1))
    await warmed.forward(images(4))
    await Promise.all(Array.from({ length: 20 }, () => warmed.forward(images(4))))
    expect((await programs()) - before).toBe(expected)
    await warmed.dispose()
  })
})

test('models.digits is a path inside the package', () => {
  expect(models.digits).toMatch(/models[\\/]digits\.safetensors$/)
})
