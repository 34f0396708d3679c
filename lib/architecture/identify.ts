import { ResNetError, unsupported } from '../errors.js'
import { nameOf } from './families.js'
import { type Architecture, bottleneckExpansion, defineArchitecture } from './spec.js'

/** Tensor shapes by torchvision name. */
export type Shapes = ReadonlyMap<string, readonly number[]>

/**
 * The architecture whose parameters have these names and shapes. What shapes cannot tell is taken as torchvision has it:
 * stride in the 3×3 (not the first 1×1), eps 1e-5, stride rather than dilation.
 * @throws ERR_RESNET_MISMATCH when the names are no residual network's; ERR_RESNET_UNSUPPORTED for a relative of one
 * (deep stem, average-pool shortcut, squeeze and excitation, pre-activation).
 */
export function identify(shapes: Shapes, source = 'checkpoint'): Architecture {
  try {
    return identified(shapes)
  } catch (error) {
    if (!(error instanceof ResNetError)) throw error
    const message = `${source}: ${error.message}`
    if (error.code === 'ERR_RESNET_UNSUPPORTED') throw unsupported(message)
    throw new ResNetError(
      'ERR_RESNET_MISMATCH',
      `${message}; if this is a residual network, name its architecture`,
    )
  }
}

function identified(shapes: Shapes): Architecture {
  refuseRelatives(shapes)
  const stem = shape(shapes, 'conv1.weight', 4)
  const [stemWidth, inChannels, kernel] = stem as [number, number, number]
  if (kernel !== 7 && kernel !== 3) {
    throw mismatch(`expected conv1.weight to be 7×7 or 3×3, received [${stem.join(', ')}]`)
  }
  const depths = stageDepths(shapes)
  const block = shapes.has('layer1.0.conv3.weight') ? 'bottleneck' : 'basic'
  const widths = depths.map((_, stage) => {
    const last = block === 'bottleneck' ? 'conv3' : 'conv2'
    const [out] = shape(shapes, `layer${stage + 1}.0.${last}.weight`, 4) as [number]
    return block === 'bottleneck' ? Math.floor(out / bottleneckExpansion) : out
  })
  const spec = defineArchitecture(
    {
      block,
      depths,
      widths,
      ...(block === 'bottleneck' ? grouping(shapes, widths[0] as number) : {}),
      stem: kernel === 7 ? 'imagenet' : 'cifar',
      stemWidth,
      inChannels,
      numClasses: shapes.has('fc.weight') ? (shape(shapes, 'fc.weight', 2)[0] as number) : 0,
    },
    'the network of these tensors',
  )
  return Object.freeze({ ...spec, name: nameOf(spec) })
}

/** Blocks by stage: distinct indices are counted, so that a huge one in a name costs nothing. */
function stageDepths(shapes: Shapes): number[] {
  const stages = new Map<number, Set<string>>()
  for (const name of shapes.keys()) {
    const found = /^layer([1-9]\d{0,2})\.(\d{1,6})\./.exec(name)
    if (found === null) continue
    const stage = Number(found[1])
    stages.set(stage, (stages.get(stage) ?? new Set()).add(found[2] as string))
  }
  if (stages.size === 0) throw mismatch('expected blocks named layer1.0.…, received none')
  return Array.from({ length: stages.size }, (_, stage) => {
    const blocks = stages.get(stage + 1)
    if (blocks === undefined)
      throw mismatch(`expected stages layer1 to layer${stages.size}, received no layer${stage + 1}`)
    return blocks.size
  })
}

function grouping(shapes: Shapes, planes: number): { groups: number; widthPerGroup: number } {
  const weight = shape(shapes, 'layer1.0.conv2.weight', 4)
  const [width, perGroup] = weight as [number, number]
  const groups = width / perGroup
  const widthPerGroup = Math.ceil((perGroup * 64) / planes)
  if (Number.isInteger(groups) && Math.floor((planes * widthPerGroup) / 64) === perGroup) {
    return { groups, widthPerGroup }
  }
  throw mismatch(
    `expected layer1.0.conv2.weight to be that of a grouped 3×3 between ${planes} planes, received [${weight.join(', ')}]`,
  )
}

const relatives: [RegExp, string][] = [
  [/^conv1\.\d+\.weight$/, 'a deep stem (the -D variants)'],
  [/^layer\d+\.\d+\.se\./, 'squeeze and excitation (SE-ResNet)'],
  [/^layer\d+\.\d+\.(conv2\.(fc|bn|conv)|conv1\.paths)/, 'split attention or selective kernels'],
  [/^layer\d+\.\d+\.convs\./, 'hierarchical 3×3 convolutions (Res2Net)'],
  [/^stages\.\d+\.blocks\.\d+\.(norm|conv)1\.(weight|bias)$/, 'pre-activation blocks (ResNetV2)'],
  [/^stages\.\d+\.conv_(exp|down)\./, 'cross-stage partial blocks (CSPResNet)'],
  [/^stages\.\d+\.\d+\.conv\d_/, "a deep stem and blocks of timm's ByobNet (resnet51q, gcresnet50t, …)"],
]

function refuseRelatives(shapes: Shapes): void {
  for (const [name, dimensions] of shapes) {
    const averaged = /^layer\d+\.\d+\.downsample\.1\.weight$/.test(name) && dimensions.length === 4
    const found = averaged
      ? 'average-pool shortcuts (the -D variants)'
      : relatives.find(([known]) => known.test(name))?.[1]
    if (found !== undefined) {
      throw unsupported(`${name} says that the network has ${found}, which this version does not build`)
    }
  }
}

function shape(shapes: Shapes, name: string, rank: number): readonly number[] {
  const found = shapes.get(name)
  if (found?.length === rank && found.every((size) => size > 0)) return found
  const received = found === undefined ? 'none' : `[${found.join(', ')}]`
  throw mismatch(`expected ${name} of ${rank} dimensions above 0, received ${received}`)
}

function mismatch(problem: string): ResNetError {
  return new ResNetError('ERR_RESNET_MISMATCH', `the tensors are not those of a residual network: ${problem}`)
}
