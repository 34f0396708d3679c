import { buildNetwork, parametersOf } from '../lib/architecture/build.js'
import { architectureNamed, familyNames, nameOf } from '../lib/architecture/families.js'
import { identify } from '../lib/architecture/identify.js'
import { type ArchitectureOptions, defineArchitecture } from '../lib/architecture/spec.js'
import { ResNetError } from '../lib/errors.js'

const trained = (name: string) => !/running_(mean|var)$/.test(name)

function parameterCount(options: Parameters<typeof parametersOf>[0]): number {
  return parametersOf(options)
    .filter(({ name }) => trained(name))
    .reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0)
}

function codeOf(call: () => unknown): { code?: string; message: string } {
  try {
    call()
  } catch (error) {
    if (error instanceof ResNetError) return error
    throw error
  }
  throw new Error('expected the call to throw')
}

describe('families', () => {
  // Weights and biases, as torchvision's pages list them; the CIFAR kind as He et al. 2015 count it, shortcuts included.
  test.each([
    ['resnet18', 11_689_512],
    ['resnet34', 21_797_672],
    ['resnet50', 25_557_032],
    ['resnet101', 44_549_160],
    ['resnet152', 60_192_808],
    ['resnext50_32x4d', 25_028_904],
    ['resnext101_32x8d', 88_791_336],
    ['resnext101_64x4d', 83_455_272],
    ['wide_resnet50_2', 68_883_240],
    ['wide_resnet101_2', 126_886_696],
    ['resnet20', 272_474],
  ])('%s has %i parameters', (name, count) => {
    expect(parameterCount(architectureNamed(name))).toBe(count)
  })

  test('a mistyped name is answered with the near one', () => {
    const error = codeOf(() => architectureNamed('resnet5O'))
    expect(error.code).toBe('ERR_RESNET_INVALID_ARGUMENT')
    expect(error.message).toContain("did you mean 'resnet50'?")
  })

  test('overrides that change the blocks lose the name, others keep it', () => {
    expect(architectureNamed('resnet18', { numClasses: 7, inChannels: 1, outputStride: 16 }).name).toBe(
      'resnet18',
    )
    expect(architectureNamed('resnet18', { depths: [1, 1, 1, 1] }).name).toBe('custom')
  })

  test.each(familyNames)('%s is recognised by its blocks', (name) => {
    expect(nameOf({ ...architectureNamed(name), name: 'custom' })).toBe(name)
  })
})

describe('defineArchitecture', () => {
  const resnet = (extra: Partial<ArchitectureOptions>) => () =>
    defineArchitecture({ block: 'bottleneck', depths: [3, 4, 6, 3], ...extra })

  test.each([
    ['depths', { depths: [] }],
    ['depths', { depths: [1, 0] }],
    ['widths', { widths: [64] }],
    ['numClasses', { numClasses: -1 }],
    ['outputStride', { outputStride: 4 }],
    ['outputStride', { outputStride: 12 }],
    ['inChannels', { inChannels: 1.5 }],
    ['groups', { block: 'basic' as const, groups: 2 }],
    ['normEps', { normEps: 0 }],
    ['depths', { depths: [4000, 4000] }],
  ])('refuses %s %j', (field, extra) => {
    const error = codeOf(resnet(extra))
    expect(error.code).toBe('ERR_RESNET_INVALID_ARGUMENT')
    expect(error.message).toContain(field)
  })

  test.each([{ stemConvs: 3 }, { shortcut: 'avgPool' as const }, { preActivation: true }])(
    'has room for %j but does not build it',
    (extra) => expect(codeOf(resnet(extra)).code).toBe('ERR_RESNET_UNSUPPORTED'),
  )

  test('an unknown field is answered with the near one', () => {
    expect(codeOf(resnet({ widthPerGroups: 4 } as never)).message).toContain("did you mean 'widthPerGroup'?")
  })

  test('a net of 1,001 layers is a depth list like any other', () => {
    const { graph } = buildNetwork(defineArchitecture({ block: 'bottleneck', depths: [3, 94, 233, 3] }))
    const layers = graph.filter(
      ({ kind, name }) => (kind === 'conv' && !name.includes('downsample')) || kind === 'linear',
    )
    expect(layers).toHaveLength(1001)
  })

  test('stages are named as features names them', () => {
    const stageNames = (name: string) => [...buildNetwork(architectureNamed(name)).stages.keys()]
    expect(stageNames('resnet50')).toEqual(['stem', 'layer1', 'layer2', 'layer3', 'layer4'])
    expect(stageNames('resnet20')).toEqual(['stem', 'layer1', 'layer2', 'layer3'])
  })
})

describe('identify', () => {
  const shapesOf = (spec: Parameters<typeof parametersOf>[0]) =>
    new Map(parametersOf(spec).map(({ name, shape }) => [name, shape]))

  test.each(familyNames)('%s from its shapes', (name) => {
    expect(identify(shapesOf(architectureNamed(name)))).toEqual(architectureNamed(name))
  })

  test('classes, channels and a missing head', () => {
    for (const options of [{ numClasses: 37 }, { inChannels: 1 }, { numClasses: 0 }]) {
      const spec = architectureNamed('resnext50_32x4d', options)
      expect(identify(shapesOf(spec))).toEqual(spec)
    }
  })

  test('depths and widths of its own', () => {
    const options = {
      block: 'bottleneck',
      depths: [1, 2],
      widths: [24, 40],
      groups: 3,
      widthPerGroup: 16,
    } as const
    const spec = defineArchitecture({ ...options, stem: 'cifar', stemWidth: 12, numClasses: 3 })
    expect(parametersOf(identify(shapesOf(spec)))).toEqual(parametersOf(spec))
  })

  test.each([
    ['nothing', {}, 'ERR_RESNET_MISMATCH'],
    ['another network', { 'encoder.weight': [3, 3] }, 'ERR_RESNET_MISMATCH'],
    ['a stem without blocks', { 'conv1.weight': [64, 3, 7, 7] }, 'ERR_RESNET_MISMATCH'],
    [
      'a stage left out',
      { 'conv1.weight': [64, 3, 7, 7], 'layer2.0.conv1.weight': [1, 1, 1, 1] },
      'ERR_RESNET_MISMATCH',
    ],
    ['a kernel of 5', { 'conv1.weight': [64, 3, 5, 5] }, 'ERR_RESNET_MISMATCH'],
    ['a deep stem', { 'conv1.0.weight': [32, 3, 3, 3] }, 'ERR_RESNET_UNSUPPORTED'],
    ['cspresnet50', { 'stages.0.conv_exp.bn.bias': [128] }, 'ERR_RESNET_UNSUPPORTED'],
    ['gcresnet50t', { 'stages.0.0.conv1_1x1.conv.weight': [64, 64, 1, 1] }, 'ERR_RESNET_UNSUPPORTED'],
    ['res2net50', { 'layer1.0.convs.0.weight': [26, 26, 3, 3] }, 'ERR_RESNET_UNSUPPORTED'],
    ['resnest50', { 'layer1.0.conv2.conv.weight': [64, 32, 3, 3] }, 'ERR_RESNET_UNSUPPORTED'],
    ['skresnet18', { 'layer1.0.conv1.paths.0.bn.weight': [64] }, 'ERR_RESNET_UNSUPPORTED'],
    [
      'an average-pool shortcut',
      { 'layer1.0.downsample.1.weight': [256, 64, 1, 1] },
      'ERR_RESNET_UNSUPPORTED',
    ],
    ['squeeze and excitation', { 'layer1.0.se.fc1.weight': [8, 64, 1, 1] }, 'ERR_RESNET_UNSUPPORTED'],
  ])('refuses %s', (_, shapes, code) => {
    expect(codeOf(() => identify(new Map(Object.entries(shapes)))).code).toBe(code)
  })
})
