import { architectureNamed } from '../lib/architecture/families.js'
import { defineArchitecture } from '../lib/architecture/spec.js'
import { ops, Tensor } from '../lib/index.js'
import { createFromFormula } from '../lib/resnet.js'
import {
  formula,
  inputImages,
  networkFixtures,
  type OpFixture,
  opFixtures,
  parameterRange,
  rule,
  sampledError,
} from '../scripts/formula.cjs'

/** Max |ours − PyTorch| / max |PyTorch|; a float32 operation's promise, and a network's. */
const opBound = 2e-5
const networkBound = rule.bound

const product = (shape: readonly number[]) => shape.reduce((total, size) => total * size, 1)

/** The call of the public `ops` that a fixture describes. */
async function run({
  name,
  op,
  x,
  options,
  parameters,
}: OpFixture): Promise<{ y: Tensor; indices?: Tensor }> {
  const filled = (label: string, { shape, lo, hi }: { shape: number[]; lo: number; hi: number }) => {
    const data = formula({ seed: rule.seed, name: `${name}:${label}`, count: product(shape), lo, hi })
    return Tensor.from(data, shape)
  }
  const input = filled('x', x)
  const given = Object.fromEntries(parameters.map((range) => [range.name, filled(range.name, range)]))
  const { weight, bias, y } = given as Record<string, Tensor>
  switch (op) {
    case 'conv2d':
      return { y: await ops.conv2d(input, weight as Tensor, { ...options, bias }) }
    case 'linear':
      return { y: await ops.linear(input, weight as Tensor, { bias }) }
    case 'batchNorm':
      return { y: await ops.batchNorm(input, given as Parameters<typeof ops.batchNorm>[1], options) }
    case 'add':
      return { y: await ops.add(input, y as Tensor) }
    case 'topK': {
      const { scores, indices } = await ops.topK(input, options as { k: number })
      return { y: scores, indices }
    }
    case 'basicBlock':
    case 'bottleneck':
      return { y: await ops[op](input, given, options) }
    case 'maxPool2d':
    case 'avgPool2d':
      return { y: await ops[op](input, options as { kernel: number }) }
    case 'relu':
    case 'softmax':
    case 'globalAvgPool2d':
      return { y: await ops[op](input) }
    default:
      throw new Error(`no call for ${op}`)
  }
}

function errorOf(expected: Float32Array, received: ArrayLike<number>): number {
  let error = 0
  let largest = 0
  for (const [i, value] of expected.entries()) {
    const difference = Math.abs(value - (received[i] as number))
    if (!(difference <= error)) error = difference
    largest = Math.max(largest, Math.abs(value))
  }
  return error / largest
}

describe('ops against PyTorch', () => {
  test.each(opFixtures().rows.map((row) => [row.name, row] as const))('%s', async (_, row) => {
    const { y, indices } = await run(row)
    expect(y.shape).toEqual(row.shape)
    expect(errorOf(row.expected, y.data)).toBeLessThan(opBound)
    if (row.indices !== undefined) expect(Array.from(indices?.data ?? [])).toEqual(row.indices)
  })

  test('the comparison can fail', async () => {
    const [row] = opFixtures().rows as [OpFixture]
    const { y } = await run({ ...row, name: 'other values' })
    expect(errorOf(row.expected, y.data)).toBeGreaterThan(opBound)
    expect(errorOf(row.expected, new Float32Array(row.expected.length).fill(Number.NaN))).toBeNaN()
  })
})

describe('models against PyTorch, batches of 8 split in threes', () => {
  const small = networkFixtures().rows.filter(({ name }) =>
    /^(resnet18 97x97|resnext50_32x4d 64x160|resnet20|resnet50 65x65|bottleneck)/.test(name),
  )

  test.each(small.map((row) => [row.name, row] as const))('%s', async (_, row) => {
    const { architecture, block, depths = [], outputStride, inChannels, numClasses, height, width } = row
    const own = { inChannels, numClasses, outputStride: outputStride === 32 ? undefined : outputStride }
    const spec =
      architecture === null
        ? defineArchitecture({ block, depths, ...own })
        : architectureNamed(architecture, own)
    const ranges = (name: string, shape: readonly number[]) => parameterRange(block, name, shape)
    const model = await createFromFormula(spec, rule.seed, ranges, { maxBatch: 3 })
    const images = 8
    const data = inputImages({ images, channels: inChannels, height, width })
    const x = Tensor.from(data, [images, inChannels, height, width], { transfer: true })
    const stages = row.tensors.map(({ name }) => name).filter((name) => /^(stem|layer\d)$/.test(name))
    const results: Record<string, Tensor> = {
      ...(await model.features(x, stages)),
      embedding: await model.embed(x),
    }
    if (numClasses > 0) results.logits = await model.forward(x)
    for (const tensor of row.tensors) {
      const received = results[tensor.name] as Tensor
      expect(received.shape).toEqual([images, ...tensor.shape])
      expect(sampledError(tensor, received.data, images)).toBeLessThan(networkBound)
    }
    await model.dispose()
  })
})
