import { buildNetwork, inputName, logitsName, pooledName } from '../lib/architecture/build.js'
import { architectureNamed } from '../lib/architecture/families.js'
import { type Architecture, defineArchitecture } from '../lib/architecture/spec.js'
import { ResNetError } from '../lib/errors.js'
import { lower } from '../lib/graph/lower.js'
import type { ConvStep, Plan } from '../lib/graph/plan.js'

function planOf(spec: Architecture, height: number, width: number, outputs = [logitsName]) {
  const { graph } = buildNetwork(spec)
  const input = {
    name: inputName,
    shape: [height, width, spec.inChannels],
    dtype: 'float32',
    layout: 'nchw',
  } as const
  return lower({ graph, inputs: [input], outputs: outputs.map((name) => ({ name, layout: 'nchw' })) })
}

const convs = (plan: Plan) => plan.steps.filter((step): step is ConvStep => step.kind === 'conv')
const sizeOf = (plan: Plan, name: string) => plan.values.find((value) => value.name === name)?.shape
const stepNamed = (plan: Plan, name: string) => convs(plan).find((step) => step.name === name) as ConvStep

describe('the plan of a network', () => {
  const { plan } = planOf(architectureNamed('resnet50'), 224, 224)

  test('runs a bottleneck as reduce, 3x3, downsample, expand', () => {
    const block = plan.steps.map(({ name }) => name).filter((name) => name.startsWith('layer2.0.'))
    expect(block).toEqual(['conv1', 'conv2', 'downsample.0', 'conv3'].map((name) => `layer2.0.${name}`))
  })

  test('fuses norm, residual and relu into the last convolution of a block', () => {
    const expand = stepNamed(plan, 'layer2.0.conv3')
    expect(expand.norm?.mean).toBe('layer2.0.bn3.running_mean')
    expect(expand.activation).toBe('relu')
    expect(plan.values[expand.residual as number]?.name).toBe('layer2.0.downsample.0')
    const next = stepNamed(plan, 'layer2.1.conv3')
    expect(plan.values[next.residual as number]?.name).toBe('layer2.0.conv3')
    expect(stepNamed(plan, 'layer2.0.downsample.0').activation).toBe('none')
  })

  test('puts the stride in the 3x3', () => {
    expect(stepNamed(plan, 'layer2.0.conv1').stride).toEqual([1, 1])
    expect(stepNamed(plan, 'layer2.0.conv2').stride).toEqual([2, 2])
    expect(stepNamed(plan, 'layer2.0.downsample.0').stride).toEqual([2, 2])
  })

  test('has the sizes of the paper', () => {
    expect(sizeOf(plan, 'conv1')).toEqual([112, 112, 64])
    expect(sizeOf(plan, 'maxpool')).toEqual([56, 56, 64])
    expect(sizeOf(plan, 'layer1.2.conv3')).toEqual([56, 56, 256])
    expect(sizeOf(plan, 'layer4.2.conv3')).toEqual([7, 7, 2048])
    expect(sizeOf(plan, pooledName)).toEqual([1, 1, 2048])
    expect(sizeOf(plan, logitsName)).toEqual([1, 1, 1000])
  })

  test('reads only what an earlier step wrote, and every value is written once', () => {
    const written = new Set<number>()
    for (const step of plan.steps) {
      for (const key of ['input', 'residual', 'a', 'b'] as const) {
        const id = (step as unknown as Record<string, number | undefined>)[key]
        if (id !== undefined) expect(written.has(id)).toBe(true)
      }
      for (const key of ['output', 'scores', 'indices'] as const) {
        const id = (step as unknown as Record<string, number | undefined>)[key]
        if (id === undefined) continue
        expect(written.has(id)).toBe(false)
        written.add(id)
      }
    }
    expect(written.size).toBe(plan.values.length)
  })

  test('is the shorter for what is not asked', () => {
    const { plan: short, outputShapes } = planOf(architectureNamed('resnet50'), 224, 224, [
      'layer1.2.conv3',
      'conv1',
    ])
    expect(short.steps.some(({ name }) => name.startsWith('layer2'))).toBe(false)
    expect(short.parameters.some(({ name }) => name.startsWith('fc'))).toBe(false)
    expect(outputShapes).toEqual([
      [56, 56, 256],
      [112, 112, 64],
    ])
  })

  test('takes odd and non-square sizes, down to one pixel', () => {
    expect(sizeOf(planOf(architectureNamed('resnet18'), 97, 131).plan, 'layer4.1.conv2')).toEqual([4, 5, 512])
    expect(sizeOf(planOf(architectureNamed('resnet18'), 1, 1).plan, 'layer4.1.conv2')).toEqual([1, 1, 512])
  })

  test('a size that a layer does not admit names the layer', () => {
    const pool = { kernel: [3, 3], stride: [1, 1], padding: [0, 0], dilation: [1, 1] } as const
    const call = () =>
      lower({
        graph: [{ kind: 'maxPool', name: 'pool', input: 'x', ...pool, ceilMode: false }],
        inputs: [{ name: 'x', shape: [5, 2, 1], dtype: 'float32', layout: 'nchw' }],
        outputs: [{ name: 'pool', layout: 'nchw' }],
      })
    expect(call).toThrow(ResNetError)
    expect(call).toThrow(/^pool: expected an input width of at least 3 .* received 2$/)
  })
})

describe('outputStride', () => {
  // torchvision: replace_stride_with_dilation = [false, true, true] for 8, [false, false, true] for 16.
  test.each([
    [32, [1, 1, 1], [1, 1, 1], 7],
    [16, [1, 1, 2], [1, 1, 1], 14],
    [8, [1, 2, 4], [1, 1, 2], 28],
  ])('%i', (outputStride, dilations, firstDilations, size) => {
    const { plan } = planOf(architectureNamed('resnet50', { outputStride }), 224, 224)
    for (const [i, stage] of [2, 3, 4].entries()) {
      expect(stepNamed(plan, `layer${stage}.0.conv2`).dilation[0]).toBe(firstDilations[i])
      expect(stepNamed(plan, `layer${stage}.1.conv2`).dilation[0]).toBe(dilations[i])
      expect(stepNamed(plan, `layer${stage}.1.conv2`).padding[0]).toBe(dilations[i])
    }
    expect(sizeOf(plan, 'layer4.2.conv3')).toEqual([size, size, 2048])
  })

  test('keeps the projection of a stage that dilates', () => {
    const { plan } = planOf(architectureNamed('resnet50', { outputStride: 8 }), 64, 64)
    expect(stepNamed(plan, 'layer4.0.downsample.0').stride).toEqual([1, 1])
  })
})

describe('the CIFAR kind', () => {
  test('has no pool, three stages and a projection where the shape changes', () => {
    const { plan } = planOf(architectureNamed('resnet20'), 32, 32)
    expect(plan.steps.some(({ kind }) => kind === 'maxPool')).toBe(false)
    expect(sizeOf(plan, 'conv1')).toEqual([32, 32, 16])
    expect(sizeOf(plan, 'layer3.2.conv2')).toEqual([8, 8, 64])
    const projections = convs(plan).filter(({ name }) => name.includes('downsample'))
    expect(projections.map(({ name }) => name)).toEqual(['layer2.0.downsample.0', 'layer3.0.downsample.0'])
  })

  test('a stem as wide as the first stage but not the second has no projection in layer1', () => {
    const { plan } = planOf(
      defineArchitecture({ block: 'basic', depths: [1, 1], stemWidth: 32, widths: [64, 64] }),
      8,
      8,
    )
    expect(convs(plan).filter(({ name }) => name.includes('downsample'))).toHaveLength(2)
  })
})
