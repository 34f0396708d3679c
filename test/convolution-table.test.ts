import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { buildNetwork, inputName, logitsName } from '../lib/architecture/build.js'
import { architectureNamed, familyNames } from '../lib/architecture/families.js'
import { lower } from '../lib/graph/lower.js'
import type { ConvStep, Plan } from '../lib/graph/plan.js'

// What test/cuda/real_cudnn_test.cc asks the real cuDNN for. RESNET_UPDATE_TABLE=1 writes it anew.
const file = path.join(__dirname, 'cuda', 'convolutions.txt')
const header = `# Every distinct convolution of every named network, at 224x224 (CIFAR kinds at 32x32), ResNet-50 with output stride 8 too,
# and their classifiers as 1x1 convolutions. Of one image, channels unpadded. A test compares this with the networks.
# c h w k r s strideH strideW padH padW dilationH dilationW groups residual relu toFloat32 layer
`

type Planned = Pick<
  ConvStep,
  'kernel' | 'stride' | 'padding' | 'dilation' | 'groups' | 'residual' | 'activation'
>
const asConvolution: Planned = {
  kernel: [1, 1],
  stride: [1, 1],
  padding: [0, 0],
  dilation: [1, 1],
  groups: 1,
  activation: 'none',
}

function planOf(name: string, outputStride: 8 | 32): Plan {
  const spec = architectureNamed(name, outputStride === 8 ? { outputStride } : {})
  const size = spec.stem === 'cifar' ? 32 : 224
  const { graph } = buildNetwork(spec)
  const shape = [size, size, spec.inChannels] as const
  const inputs = [{ name: inputName, shape, dtype: 'float32' as const, layout: 'nchw' as const }]
  return lower({ graph, inputs, outputs: [{ name: logitsName, layout: 'nchw' }] }).plan
}

function rowsOf(plan: Plan): [key: string, layer: string][] {
  return plan.steps.flatMap((step): [string, string][] => {
    if (step.kind !== 'conv' && step.kind !== 'linear') return []
    const { kernel, stride, padding, dilation, groups, residual, activation } =
      step.kind === 'conv' ? step : asConvolution
    const [h, w, c] = plan.values[step.input]?.shape ?? [0, 0, 0]
    const k = plan.values[step.output]?.shape[2] ?? 0
    const flags = [residual !== undefined, activation === 'relu', step.kind === 'linear'].map(Number)
    const row = [c, h, w, k, ...kernel, ...stride, ...padding, ...dilation, groups, ...flags]
    return [[row.join(' '), step.name]]
  })
}

test('the table of convolutions is that of the networks', () => {
  const rows = new Map<string, string>()
  const networks: [string, 8 | 32][] = [
    ...familyNames.map((name): [string, 32] => [name, 32]),
    ['resnet50', 8],
  ]
  for (const [name, outputStride] of networks) {
    for (const [key, layer] of rowsOf(planOf(name, outputStride))) {
      if (!rows.has(key)) rows.set(key, `${name}${outputStride === 8 ? '/8' : ''}:${layer}`)
    }
  }
  const text = `${header}${[...rows].map(([key, layer]) => `${key} ${layer}\n`).join('')}`
  if (process.env.RESNET_UPDATE_TABLE === '1') writeFileSync(file, text)
  expect(readFileSync(file, 'utf8')).toBe(text)
  expect(rows.size).toBeGreaterThan(90)
})
