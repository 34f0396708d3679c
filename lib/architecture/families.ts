import { invalidArgument } from '../errors.js'
import { closest } from '../options.js'
import { type Architecture, type ArchitectureOptions, defineArchitecture } from './spec.js'

type Row = Pick<ArchitectureOptions, 'block' | 'depths' | 'groups' | 'widthPerGroup' | 'stem' | 'numClasses'>

const cifar = (depth: number): Row => ({
  block: 'basic',
  depths: [depth, depth, depth],
  stem: 'cifar',
  numClasses: 10,
})

/** The named networks. A new member is a row; what it leaves out has the defaults of `defineArchitecture`. */
const families: Record<string, Row> = {
  resnet18: { block: 'basic', depths: [2, 2, 2, 2] },
  resnet34: { block: 'basic', depths: [3, 4, 6, 3] },
  resnet50: { block: 'bottleneck', depths: [3, 4, 6, 3] },
  resnet101: { block: 'bottleneck', depths: [3, 4, 23, 3] },
  resnet152: { block: 'bottleneck', depths: [3, 8, 36, 3] },
  resnext50_32x4d: { block: 'bottleneck', depths: [3, 4, 6, 3], groups: 32, widthPerGroup: 4 },
  resnext101_32x8d: { block: 'bottleneck', depths: [3, 4, 23, 3], groups: 32, widthPerGroup: 8 },
  resnext101_64x4d: { block: 'bottleneck', depths: [3, 4, 23, 3], groups: 64, widthPerGroup: 4 },
  wide_resnet50_2: { block: 'bottleneck', depths: [3, 4, 6, 3], widthPerGroup: 128 },
  wide_resnet101_2: { block: 'bottleneck', depths: [3, 4, 23, 3], widthPerGroup: 128 },
  resnet20: cifar(3),
  resnet32: cifar(5),
  resnet44: cifar(7),
  resnet56: cifar(9),
  resnet110: cifar(18),
}

export const familyNames: readonly string[] = Object.keys(families)

/**
 * The architecture of a family's member, changed by `overrides`.
 * @throws ERR_RESNET_INVALID_ARGUMENT for a name that no family has.
 */
export function architectureNamed(
  name: string,
  overrides: Partial<ArchitectureOptions> = {},
  call = 'architecture',
): Architecture {
  const row = Object.hasOwn(families, name) ? families[name] : undefined
  if (row === undefined) {
    const nearest = closest(name, familyNames)
    throw invalidArgument(
      `${call}: expected architecture to be one of ${familyNames.join(', ')}, or a spec, received '${name}'` +
        (nearest === undefined ? '' : `; did you mean '${nearest}'?`),
    )
  }
  const given = Object.entries(overrides).filter(([, value]) => value !== undefined)
  const spec = defineArchitecture({ ...row, ...Object.fromEntries(given), name }, call)
  return sameNetwork(spec, defineArchitecture({ ...row, name }, call))
    ? spec
    : Object.freeze({ ...spec, name: 'custom' })
}

/** The family member with this spec's blocks, or 'custom': classes, input channels and output stride may differ. */
export function nameOf(spec: Architecture): string {
  return familyNames.find((name) => sameNetwork(spec, architectureNamed(name))) ?? 'custom'
}

function sameNetwork(a: Architecture, b: Architecture): boolean {
  const same = (left: readonly number[], right: readonly number[]) => left.join() === right.join()
  return (
    a.block === b.block &&
    a.stem === b.stem &&
    a.stemWidth === b.stemWidth &&
    a.groups === b.groups &&
    a.widthPerGroup === b.widthPerGroup &&
    same(a.depths, b.depths) &&
    same(a.widths, b.widths)
  )
}
