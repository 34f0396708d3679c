import { invalidArgument, unsupported } from '../errors.js'
import { integer, list, matching, oneOf, optional, readOptions } from '../options.js'

export type BlockKind = 'basic' | 'bottleneck'
/** 'imagenet': 7×7 stride 2, then a 3×3 max pool of stride 2; 'cifar': 3×3 stride 1 and no pool. */
export type StemKind = 'imagenet' | 'cifar'

/**
 * What describes a residual network: plain data, from which `build` makes the graph.
 * Source: He et al. 2015 (blocks), Xie et al. 2016 (groups), Zagoruyko & Komodakis 2016 (width), torchvision's
 * `resnet.py` (stride in the 3×3, names, dilation).
 */
export interface Architecture {
  /** A family's name ('resnet50'), or 'custom'. */
  readonly name: string
  readonly block: BlockKind
  /** Blocks of each stage. */
  readonly depths: readonly number[]
  /** Planes of each stage; a bottleneck's output is four times as wide. */
  readonly widths: readonly number[]
  readonly groups: number
  /** A bottleneck's 3×3 has floor(planes · widthPerGroup / 64) · groups channels. */
  readonly widthPerGroup: number
  readonly stem: StemKind
  readonly stemWidth: number
  readonly inChannels: number
  /** 0: no head. */
  readonly numClasses: number
  /** Input pixels per pixel of the last stage. Below what the strides give, later stages dilate instead. */
  readonly outputStride: number
  /** 1×1 convolution and norm wherever the shape changes. */
  readonly shortcut: 'projection'
  readonly normEps: number
}

/** An architecture to be completed: `depths` and `block` must be there, the rest has the defaults of resnet50. */
export interface ArchitectureOptions {
  name?: string
  block: BlockKind
  depths: readonly number[]
  /** Default: 64, 128, 256, …; 16, 32, 64, … with the 'cifar' stem. */
  widths?: readonly number[]
  /** Default 1. */
  groups?: number
  /** Default 64. */
  widthPerGroup?: number
  /** Default 'imagenet'. */
  stem?: StemKind
  /** Default: the first width. */
  stemWidth?: number
  /** Default 3. */
  inChannels?: number
  /** Default 1000; 0: no head. */
  numClasses?: number
  /** 8, 16 or 32; default: what the strides give. */
  outputStride?: number
  shortcut?: 'projection' | 'avgPool'
  normEps?: number
  /** Kinds that a later version may build; asking for one is ERR_RESNET_UNSUPPORTED. */
  stemConvs?: number
  preActivation?: boolean
}

/** Channels of a bottleneck's output per plane. */
export const bottleneckExpansion = 4

/** What keeps a spec from growing without bound; far above any network that was ever trained. */
const maxStages = 8
const maxBlocks = 4096
const maxChannels = 65_536

const channels = integer(1, maxChannels)
const specTable = {
  name: optional(matching<string>('a short name', /^[\w.+-]{1,64}$/)),
  block: optional(oneOf('basic', 'bottleneck')),
  depths: optional(list(integer(1, maxBlocks), 1, maxStages)),
  widths: optional(list(channels, 1, maxStages)),
  groups: optional(channels),
  widthPerGroup: optional(channels),
  stem: optional(oneOf('imagenet', 'cifar')),
  stemWidth: optional(channels),
  inChannels: optional(channels),
  numClasses: optional(integer(0, 1_000_000, ' (0: no head)')),
  outputStride: optional(integer(1, 1 << (maxStages + 2))),
  shortcut: optional(oneOf('projection', 'avgPool')),
  normEps: optional({
    expected: 'a number above 0 and below 1',
    accepts: (value): value is number => typeof value === 'number' && value > 0 && value < 1,
    fallback: undefined,
  }),
  stemConvs: optional(integer(1, 3)),
  preActivation: optional({
    expected: 'true or false',
    accepts: (value): value is boolean => typeof value === 'boolean',
    fallback: undefined,
  }),
}

/**
 * Completes and checks a spec.
 * @throws ERR_RESNET_INVALID_ARGUMENT naming the field; ERR_RESNET_UNSUPPORTED for a deep stem, average-pool shortcuts
 * and pre-activation.
 */
export function defineArchitecture(options: ArchitectureOptions, call = 'architecture'): Architecture {
  const given = readOptions(call, specTable, options)
  const { block, depths, stem = 'imagenet' } = given
  if (block === undefined || depths === undefined) {
    const missing = block === undefined ? "block ('basic' or 'bottleneck')" : 'depths (blocks of each stage)'
    throw invalidArgument(`${call}: expected ${missing}, received undefined`)
  }
  refuseWhatIsNotBuilt(given, call)
  if (depths.reduce((sum, depth) => sum + depth, 0) > maxBlocks) {
    throw invalidArgument(
      `${call}: expected depths to add up to at most ${maxBlocks}, received [${depths.join(', ')}]`,
    )
  }
  const first = stem === 'cifar' ? 16 : 64
  const widths = given.widths ?? depths.map((_, stage) => first << stage)
  if (widths.length !== depths.length) {
    throw invalidArgument(
      `${call}: expected as many widths as depths (${depths.length}), received [${widths.join(', ')}]`,
    )
  }
  const spec: Architecture = {
    name: given.name ?? 'custom',
    block,
    depths: Object.freeze([...depths]),
    widths: Object.freeze([...widths]),
    groups: given.groups ?? 1,
    widthPerGroup: given.widthPerGroup ?? 64,
    stem,
    stemWidth: given.stemWidth ?? (widths[0] as number),
    inChannels: given.inChannels ?? 3,
    numClasses: given.numClasses ?? 1000,
    outputStride: readOutputStride(given.outputStride, stem, depths.length, call),
    shortcut: 'projection',
    normEps: given.normEps ?? 1e-5,
  }
  checkBlocks(spec, call)
  return Object.freeze(spec)
}

function refuseWhatIsNotBuilt(
  {
    stemConvs = 1,
    shortcut,
    preActivation,
  }: Pick<ArchitectureOptions, 'stemConvs' | 'shortcut' | 'preActivation'>,
  call: string,
): void {
  const refused =
    stemConvs !== 1
      ? `stemConvs ${stemConvs} (a deep stem)`
      : shortcut === 'avgPool'
        ? "shortcut 'avgPool'"
        : preActivation === true
          ? 'preActivation'
          : undefined
  if (refused === undefined) return
  throw unsupported(
    `${call}: ${refused} is not supported by this version; the blocks of torchvision's ResNets are`,
  )
}

/** Input pixels per pixel of the last stage when nothing dilates. */
export function naturalStride(stem: StemKind, stages: number): number {
  return (stem === 'imagenet' ? 4 : 1) << (stages - 1)
}

function readOutputStride(asked: number | undefined, stem: StemKind, stages: number, call: string): number {
  const natural = naturalStride(stem, stages)
  if (asked === undefined || asked === natural) return natural
  const admitted = [8, 16, 32].filter((stride) => stride < natural && stride >= naturalStride(stem, 1))
  if (admitted.includes(asked)) return asked
  throw invalidArgument(
    `${call}: expected outputStride to be ${[...admitted, natural].join(', ')} for this network, received ${asked}`,
  )
}

function checkBlocks(spec: Architecture, call: string): void {
  const { block, groups, widthPerGroup, widths } = spec
  if (block === 'basic' && (groups !== 1 || widthPerGroup !== 64)) {
    throw invalidArgument(
      `${call}: expected groups 1 and widthPerGroup 64 with basic blocks, received ${groups} and ${widthPerGroup}`,
    )
  }
  for (const planes of widths) {
    const width = innerWidth(spec, planes)
    if (width >= 1 && width <= maxChannels) continue
    throw invalidArgument(
      `${call}: expected blocks 1 to ${maxChannels} channels wide; groups ${groups}, widthPerGroup ${widthPerGroup} ` +
        `and width ${planes} give ${width}`,
    )
  }
}

/** Channels between a block's convolutions. */
export function innerWidth(spec: Architecture, planes: number): number {
  if (spec.block === 'basic') return planes
  return Math.floor((planes * spec.widthPerGroup) / 64) * spec.groups
}

/** Channels that a stage gives. */
export function stageChannels(spec: Architecture, stage: number): number {
  return (spec.widths[stage] as number) * (spec.block === 'bottleneck' ? bottleneckExpansion : 1)
}
