import { parametersOf } from '../lib/architecture/build.js'
import { architectureNamed, familyNames } from '../lib/architecture/families.js'
import type { Architecture } from '../lib/architecture/spec.js'
import { ResNetError } from '../lib/errors.js'
import { matchCheckpoint } from '../lib/weights/match.js'
import { torchvision } from '../lib/weights/names/torchvision.js'
import { transformers } from '../lib/weights/names/transformers.js'

interface Entry {
  name: string
  dtype: string
  shape: number[]
}

/** What a file of this network would list, in a naming and behind a prefix. */
function listing(spec: Architecture, fromPlan = (name: string) => name): Entry[] {
  const parameters = parametersOf(spec).map(({ name, shape }) => ({
    name: fromPlan(name),
    dtype: 'F32',
    shape: [...shape],
  }))
  const counters = parameters
    .filter(({ name }) => name.endsWith('.running_mean'))
    .map(({ name }) => ({
      name: name.replace('running_mean', 'num_batches_tracked'),
      dtype: 'I64',
      shape: [],
    }))
  return [...parameters, ...counters]
}

function refusal(call: () => unknown): ResNetError {
  try {
    call()
  } catch (error) {
    if (error instanceof ResNetError) return error
    throw error
  }
  throw new Error('expected a refusal')
}

const match = (tensors: Entry[], options = {}) =>
  matchCheckpoint(tensors, { source: 'a.safetensors', ...options })

describe.each([
  ['torchvision', torchvision.fromPlan],
  ['transformers', transformers.fromPlan],
  ['transformers', (name: string) => transformers.fromPlan(name).replace(/^resnet\./, '')],
  ['torchvision', (name: string) => `module.${name}`],
  ['torchvision', (name: string) => `model.backbone.${name}`],
  ['transformers', (name: string) => `model.${transformers.fromPlan(name)}`],
])('%s names (%#)', (naming, fromPlan) => {
  test.each(familyNames)('%s is identified and every parameter found', (name) => {
    const spec = architectureNamed(name)
    const found = match(listing(spec, fromPlan))
    expect(found.architecture).toEqual(spec)
    expect(found.naming).toBe(naming)
    expect(found.names).toEqual(
      Object.fromEntries(parametersOf(spec).map(({ name }) => [name, fromPlan(name)])),
    )
  })

  test('no head', () => {
    const spec = architectureNamed('resnet18', { numClasses: 0 })
    expect(match(listing(spec, fromPlan)).architecture).toEqual(spec)
  })
})

describe('real names', () => {
  // From the state_dict of transformers' ResNetForImageClassification.
  test.each([
    ['resnet.embedder.embedder.convolution.weight', 'conv1.weight'],
    ['resnet.embedder.embedder.normalization.running_var', 'bn1.running_var'],
    ['resnet.encoder.stages.0.layers.0.shortcut.convolution.weight', 'layer1.0.downsample.0.weight'],
    ['resnet.encoder.stages.3.layers.2.shortcut.normalization.bias', 'layer4.2.downsample.1.bias'],
    ['resnet.encoder.stages.1.layers.3.layer.2.normalization.running_mean', 'layer2.3.bn3.running_mean'],
    ['encoder.stages.1.layers.3.layer.0.convolution.weight', 'layer2.3.conv1.weight'],
    ['classifier.1.bias', 'fc.bias'],
    ['resnet.pooler.weight', undefined],
    ['resnet.encoder.stages.0.layers.0.attention.convolution.weight', undefined],
  ])('%s', (name, planName) => expect(transformers.toPlan(name)).toBe(planName))
})

describe('an explicit architecture', () => {
  test('by name, with the classes and channels of the file', () => {
    const spec = architectureNamed('resnet50', { numClasses: 7, inChannels: 4 })
    expect(match(listing(spec), { architecture: 'resnet50' }).architecture).toEqual(spec)
  })

  test('as a spec', () => {
    const { architecture } = match(listing(architectureNamed('resnet18')), {
      architecture: { name: 'mine', block: 'basic', depths: [2, 2, 2, 2], normEps: 1e-3 },
    })
    expect(architecture).toMatchObject({ name: 'mine', normEps: 1e-3, numClasses: 1000 })
  })

  test('overrides what the file would be, and says what does not fit', () => {
    const error = refusal(() => match(listing(architectureNamed('resnet18')), { architecture: 'resnet34' }))
    expect(error.code).toBe('ERR_RESNET_MISMATCH')
    expect(error.message).toContain('missing (80):')
    expect(error.message).not.toContain('unexpected')
  })

  test('outputStride', () => {
    const { architecture } = match(listing(architectureNamed('resnet50')), { outputStride: 8 })
    expect(architecture).toEqual(architectureNamed('resnet50', { outputStride: 8 }))
  })
})

describe('what does not fit', () => {
  test('missing, unexpected and mis-shaped are in one error', () => {
    const tensors = listing(architectureNamed('resnet18'), transformers.fromPlan)
      .filter(({ name }) => name !== 'resnet.encoder.stages.1.layers.1.layer.0.normalization.bias')
      .map((entry) => (entry.name === 'classifier.1.bias' ? { ...entry, shape: [10] } : entry))
    const error = refusal(() => match([...tensors, { name: 'ema.decay', dtype: 'F32', shape: [1] }]))
    expect(error.code).toBe('ERR_RESNET_MISMATCH')
    expect(error.message.split('\n')).toEqual([
      "a.safetensors: the tensors do not fit the architecture 'resnet18' (transformers's names)",
      'missing (1):',
      '  resnet.encoder.stages.1.layers.1.layer.0.normalization.bias [128]',
      'unexpected (1):',
      '  ema.decay [1]',
      'mis-shaped (1):',
      '  classifier.1.bias: expected [1000], received [10]',
      'Name the right architecture, or export the whole network and nothing else.',
    ])
  })

  test('a tensor that two names claim', () => {
    const tensors = listing(architectureNamed('resnet18'), transformers.fromPlan)
    const twice = {
      name: 'encoder.stages.0.layers.0.layer.0.convolution.weight',
      dtype: 'F32',
      shape: [64, 64, 3, 3],
    }
    expect(refusal(() => match([...tensors, twice])).message).toContain('unexpected (1)')
  })

  test('element types that are not read', () => {
    const tensors = listing(architectureNamed('resnet18')).map((entry) =>
      entry.name === 'fc.weight' ? { ...entry, dtype: 'F64' } : entry,
    )
    const error = refusal(() => match(tensors))
    expect(error.code).toBe('ERR_RESNET_UNSUPPORTED')
    expect(error.message).toContain('fc.weight: F64')
  })

  test('a foreign file is short about it', () => {
    const tensors = Array.from({ length: 5000 }, (_, i) => ({ name: `x${i}`, dtype: 'F32', shape: [1] }))
    expect(refusal(() => match(tensors)).code).toBe('ERR_RESNET_MISMATCH')
    expect(refusal(() => match(tensors, { architecture: 'resnet18' })).message.length).toBeLessThan(20_000)
  })

  test('absurd shapes and indices', () => {
    const hostile = [
      { name: 'conv1.weight', dtype: 'F32', shape: [2 ** 40, 3, 7, 7] },
      { name: 'layer1.999999.conv1.weight', dtype: 'F32', shape: [64, 64, 3, 3] },
      { name: 'layer1.0.conv2.weight', dtype: 'F32', shape: [64, 64, 3, 3] },
    ]
    expect(refusal(() => match(hostile)).code).toBe('ERR_RESNET_MISMATCH')
    expect(refusal(() => match([])).code).toBe('ERR_RESNET_MISMATCH')
  })
})
