import { ops, Tensor } from '../lib/index.js'
import { refusal } from './support/refusal.js'

const tensor = (values: number[], shape: number[], options = {}) =>
  Tensor.from(Float32Array.from(values), shape, options)
const ones = (shape: number[]) =>
  Tensor.from(new Float32Array(shape.reduce((product, size) => product * size, 1)).fill(1), shape)
const counting = (shape: number[]) =>
  Tensor.from(
    Float32Array.from({ length: shape.reduce((product, size) => product * size, 1) }, (_, i) => i),
    shape,
  )
const valuesOf = ({ data }: Tensor) => Array.from(data)

describe('values by hand', () => {
  const x = counting([1, 1, 3, 3])

  test('conv2d: sums of 2x2 windows, bias, stride and padding', async () => {
    expect(valuesOf(await ops.conv2d(x, ones([1, 1, 2, 2])))).toEqual([8, 12, 20, 24])
    const bias = tensor([0.5], [1])
    const padded = await ops.conv2d(x, ones([1, 1, 2, 2]), { bias, stride: 2, padding: 1 })
    expect(padded.shape).toEqual([1, 1, 2, 2])
    expect(valuesOf(padded)).toEqual([0.5, 3.5, 9.5, 24.5])
  })

  test('conv2d: groups, dilation and a pair of strides', async () => {
    const two = tensor([1, 2, 3, 4, 10, 20, 30, 40], [1, 2, 2, 2])
    const depthwise = await ops.conv2d(two, tensor([1, 0, 0, 1, 1, 1, 1, 1], [2, 1, 2, 2]), { groups: 2 })
    expect(valuesOf(depthwise)).toEqual([5, 100])
    expect(valuesOf(await ops.conv2d(x, ones([1, 1, 2, 2]), { dilation: 2 }))).toEqual([16])
    expect((await ops.conv2d(x, ones([1, 1, 1, 1]), { stride: [1, 2] })).shape).toEqual([1, 1, 3, 2])
  })

  test('conv2d: the second filter and the second image', async () => {
    const images = tensor([1, 2, 3, 4], [2, 1, 1, 2])
    const y = await ops.conv2d(images, tensor([1, 10], [2, 1, 1, 1]))
    expect(valuesOf(y)).toEqual([1, 2, 10, 20, 3, 4, 30, 40])
  })

  test('batchNorm', async () => {
    const statistics = { running_mean: tensor([1, 2], [2]), running_var: tensor([4, 0.25], [2]) }
    const y = tensor([3, 3], [1, 2, 1, 1])
    expect(valuesOf(await ops.batchNorm(y, statistics, { eps: 0 }))).toEqual([1, 2])
    const affine = { ...statistics, weight: tensor([2, 3], [2]), bias: tensor([1, -1], [2]) }
    expect(valuesOf(await ops.batchNorm(y, affine, { eps: 0 }))).toEqual([3, 5])
  })

  test('relu and add, of maps and of vectors', async () => {
    expect(valuesOf(await ops.relu(tensor([-1, 0, 2], [1, 3, 1, 1])))).toEqual([0, 0, 2])
    const sum = await ops.add(tensor([1, 2], [1, 2]), tensor([10, 20], [1, 2]))
    expect(sum.shape).toEqual([1, 2])
    expect(valuesOf(sum)).toEqual([11, 22])
  })

  test('pools', async () => {
    expect(valuesOf(await ops.maxPool2d(x, { kernel: 2, stride: 1 }))).toEqual([4, 5, 7, 8])
    expect(valuesOf(await ops.maxPool2d(x, { kernel: 2, ceilMode: true }))).toEqual([4, 5, 7, 8])
    expect(valuesOf(await ops.maxPool2d(x, { kernel: 2 }))).toEqual([4])
    expect(valuesOf(await ops.avgPool2d(x, { kernel: 2, stride: 1 }))).toEqual([2, 3, 5, 6])
    expect(valuesOf(await ops.avgPool2d(x, { kernel: 2, padding: 1 }))).toEqual([0, 0.75, 2.25, 6])
    const uncounted = await ops.avgPool2d(x, { kernel: 2, padding: 1, countIncludePad: false })
    expect(valuesOf(uncounted)).toEqual([0, 1.5, 4.5, 6])
    const pooled = await ops.globalAvgPool2d(counting([2, 1, 1, 3]))
    expect(pooled.shape).toEqual([2, 1])
    expect(valuesOf(pooled)).toEqual([1, 4])
  })

  test('linear', async () => {
    const y = await ops.linear(tensor([1, 2], [1, 2]), tensor([1, 1, 3, -1], [2, 2]), {
      bias: tensor([0, 10], [2]),
    })
    expect(valuesOf(y)).toEqual([3, 11])
  })

  test('softmax and topK', async () => {
    const scores = await ops.softmax(tensor([0, 0, Math.log(2)], [1, 3]))
    expect(valuesOf(scores)).toEqual([0.25, 0.25, 0.5].map((value) => expect.closeTo(value, 6)))
    const best = await ops.topK(tensor([3, 9, 5, 9], [1, 4]), { k: 3 })
    expect(valuesOf(best.scores)).toEqual([9, 9, 5])
    expect(valuesOf(best.indices)).toEqual([1, 3, 2])
    expect(best.indices.dtype).toBe('int32')
  })
})

/** A norm that passes its input through when eps is 0. */
function identityNorm(name: string, channels: number): Record<string, Tensor> {
  const filled = (value: number) => Tensor.from(new Float32Array(channels).fill(value), [channels])
  return {
    [`${name}.weight`]: filled(1),
    [`${name}.bias`]: filled(0),
    [`${name}.running_mean`]: filled(0),
    [`${name}.running_var`]: filled(1),
  }
}

describe('blocks', () => {
  const centre = (k: number, c: number, value: number) => {
    const weight = new Float32Array(k * c * 9)
    for (let i = 0; i < Math.min(k, c); ++i) weight[(i * c + i) * 9 + 4] = value
    return Tensor.from(weight, [k, c, 3, 3])
  }
  const diagonal = (k: number, c: number, value: number) => {
    const weight = new Float32Array(k * c)
    for (let i = 0; i < k; ++i) weight[i * c + (i % c)] = value
    return Tensor.from(weight, [k, c, 1, 1])
  }

  test('basicBlock: relu(conv(relu(conv(x))) + x)', async () => {
    const parameters = {
      'conv1.weight': centre(1, 1, 2),
      'conv2.weight': centre(1, 1, 3),
      ...identityNorm('bn1', 1),
      ...identityNorm('bn2', 1),
      'bn1.num_batches_tracked': Tensor.from(new Int32Array(1), [1]),
    }
    const y = await ops.basicBlock(tensor([1, -1], [1, 1, 1, 2]), parameters, { eps: 0 })
    expect(valuesOf(y)).toEqual([7, 0])
  })

  test('bottleneck with a projection halves the map and quadruples the planes', async () => {
    const parameters = {
      'conv1.weight': diagonal(1, 2, 1),
      'conv2.weight': centre(1, 1, 2),
      'conv3.weight': diagonal(4, 1, 1),
      'downsample.0.weight': diagonal(4, 2, 10),
      ...identityNorm('bn1', 1),
      ...identityNorm('bn2', 1),
      ...identityNorm('bn3', 4),
      ...identityNorm('downsample.1', 4),
    }
    const x = tensor([1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 2, 2])
    const y = await ops.bottleneck(x, parameters, { stride: 2, eps: 0 })
    expect(y.shape).toEqual([1, 4, 1, 1])
    expect(valuesOf(y)).toEqual([12, 52, 12, 52])
  })

  test('what is missing, misnamed or misshapen is named', async () => {
    const x = ones([1, 1, 2, 2])
    const whole: Record<string, Tensor> = {
      'conv1.weight': centre(1, 1, 2),
      'conv2.weight': centre(1, 1, 3),
      ...identityNorm('bn1', 1),
      ...identityNorm('bn2', 1),
    }
    const { 'bn2.bias': _, ...short } = whole
    expect((await refusal(() => ops.basicBlock(x, short))).message).toContain('expected bn2.bias')
    const misnamed = { ...whole, 'bn2.weihgt': ones([1]) }
    expect((await refusal(() => ops.basicBlock(x, misnamed))).message).toContain("did you mean 'bn2.weight'?")
    const wide = { ...whole, 'bn1.weight': ones([2]) }
    expect((await refusal(() => ops.basicBlock(x, wide))).message).toContain(
      'bn1.weight to be a Tensor of shape [1]',
    )
    expect((await refusal(() => ops.basicBlock(x, whole, { stride: 2 }))).message).toContain(
      'downsample.0.weight',
    )
  })
})

describe('tensors in', () => {
  test('an output too large for a tensor is refused by its shape', async () => {
    const one = Tensor.from(Float32Array.of(1), [1, 1, 1, 1])
    await expect(ops.conv2d(one, one, { padding: 60_000 })).rejects.toMatchObject({
      code: 'ERR_RESNET_INVALID_ARGUMENT',
      message: expect.stringContaining('[1, 1, 120001, 120001]'),
    })
  })

  test('nhwc gives nhwc, with the same values', async () => {
    const x = counting([2, 3, 4, 5])
    const weight = counting([4, 3, 3, 3])
    const y = await ops.conv2d(x, weight, { padding: 1 })
    const z = await ops.conv2d(x.toLayout('nhwc'), weight.toLayout('nhwc'), { padding: 1 })
    expect(z.layout).toBe('nhwc')
    expect(z.shape).toEqual(y.shape)
    expect(z.toLayout('nchw').data).toEqual(y.data)
  })

  test('bfloat16 weights and float16 input are widened', async () => {
    const x = Tensor.from(new Uint16Array([0x3c00]), [1, 1, 1, 1], { dtype: 'float16' })
    const weight = Tensor.from(new Uint16Array([0x4040]), [1, 1, 1, 1], { dtype: 'bfloat16' })
    expect(valuesOf(await ops.conv2d(x, weight))).toEqual([3])
  })

  test('the input is not written to', async () => {
    const x = tensor([-1, 2], [1, 2])
    await ops.relu(x)
    expect(valuesOf(x)).toEqual([-1, 2])
  })
})

describe('calls', () => {
  test('many at once, of several shapes, each gets its own answer', async () => {
    const calls = Array.from({ length: 40 }, async (_, i) => {
      const shape = [1 + (i % 3), 1 + (i % 5)]
      const y = await ops.add(
        ones(shape),
        Tensor.from(new Float32Array((shape[0] ?? 0) * (shape[1] ?? 0)).fill(i), shape),
      )
      expect(new Set(y.data)).toEqual(new Set([i + 1]))
    })
    await Promise.all(calls)
  })

  test('an aborted one rejects with the reason', async () => {
    const reason = new Error('no longer wanted')
    await expect(ops.relu(ones([1, 1]), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    const abort = new AbortController()
    const running = ops.conv2d(ones([1, 64, 96, 96]), ones([64, 64, 3, 3]), { signal: abort.signal })
    abort.abort(reason)
    await expect(running).rejects.toBe(reason)
  })

  test.each([
    ['stride', () => ops.conv2d(ones([1, 1, 3, 3]), ones([1, 1, 1, 1]), { stride: 0 })],
    ['groups', () => ops.conv2d(ones([1, 3, 3, 3]), ones([2, 1, 1, 1]), { groups: 2 })],
    ['weight', () => ops.conv2d(ones([1, 3, 3, 3]), ones([2, 2, 1, 1]))],
    ['weight', () => ops.conv2d(ones([1, 3, 3, 3]), ones([2, 3]))],
    ['bias', () => ops.conv2d(ones([1, 1, 3, 3]), ones([2, 1, 1, 1]), { bias: ones([3]) })],
    ['height of at least 5', () => ops.conv2d(ones([1, 1, 3, 9]), ones([1, 1, 5, 5]))],
    ['x', () => ops.relu([1] as never)],
    ['[N, C, H, W] or [N, D]', () => ops.relu(ones([3]))],
    ['uint8', () => ops.relu(Tensor.from(new Uint8Array(1), [1, 1]))],
    ['one shape', () => ops.add(ones([1, 2]), ones([1, 3]))],
    ['one batch size', () => ops.add(ones([1, 2]), ones([2, 2]))],
    ['kernel', () => ops.maxPool2d(ones([1, 1, 3, 3]), {} as never)],
    ['half the kernel', () => ops.maxPool2d(ones([1, 1, 3, 3]), { kernel: 2, padding: 2 })],
    ["did you mean 'padding'", () => ops.maxPool2d(ones([1, 1, 3, 3]), { kernel: 2, pading: 1 } as never)],
    ['at most 3', () => ops.topK(ones([1, 3]), { k: 4 })],
    ['running_var', () => ops.batchNorm(ones([1, 3]), { running_mean: ones([3]) } as never)],
    [
      'batchNorm',
      () =>
        ops.batchNorm(ones([1, 1]), {
          running_mean: ones([1]),
          running_var: Tensor.from(new Float32Array([-2]), [1]),
        }),
    ],
    ['linear: expected weight', () => ops.linear(ones([1, 1]), Tensor.from(new Int32Array(1), [1, 1]))],
    [
      'eps',
      () => ops.batchNorm(ones([1, 1]), { running_mean: ones([1]), running_var: ones([1]) }, { eps: -1 }),
    ],
  ])('wrong use is named: %s', async (word, call) => {
    const error = await refusal(call)
    expect(error.code).toBe('ERR_RESNET_INVALID_ARGUMENT')
    expect(error.message).toContain(word)
  })
})
