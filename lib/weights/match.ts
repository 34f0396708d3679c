import type { TensorEntry } from '../../binding.js'
import { parametersOf } from '../architecture/build.js'
import { architectureNamed } from '../architecture/families.js'
import { identify, type Shapes } from '../architecture/identify.js'
import { type Architecture, type ArchitectureOptions, defineArchitecture } from '../architecture/spec.js'
import { ResNetError, unsupported } from '../errors.js'
import type { Naming } from './names/naming.js'
import { torchvision } from './names/torchvision.js'
import { transformers } from './names/transformers.js'

const namings: readonly Naming[] = [transformers, torchvision]

/** What wrappers (DataParallel, Lightning, detectors) put before every name. */
const wrappers = /^(module|model|backbone)\./

export interface MatchOptions {
  /** A family's name or a spec; absent: identified from names and shapes. */
  architecture?: string | ArchitectureOptions
  outputStride?: number
  /** What messages call the checkpoint: its path, or 'checkpoint'. */
  source: string
}
export interface Match {
  architecture: Architecture
  naming: string
  /** Parameter name of the plan → tensor name of the checkpoint. */
  names: Record<string, string>
}

interface Candidate {
  tensor: TensorEntry
  /** Undefined: this naming has no such tensor. */
  planName: string | undefined
}

/**
 * Finds the architecture of a checkpoint's tensors, and which tensor is which parameter.
 * @throws ERR_RESNET_MISMATCH listing every missing, unexpected and mis-shaped tensor; ERR_RESNET_UNSUPPORTED for
 * element types that are not read.
 */
export function matchCheckpoint(tensors: readonly TensorEntry[], options: MatchOptions): Match {
  const read = tensors.filter(({ name }) => !name.endsWith('.num_batches_tracked'))
  const prefix = commonWrapper(read)
  const bare = new Set(read.map(({ name }) => name.slice(prefix.length)))
  const naming = namings.find((candidate) => candidate.recognises(bare)) ?? torchvision
  const candidates = read.map((tensor) => ({
    tensor,
    planName: naming.toPlan(tensor.name.slice(prefix.length)),
  }))
  const shapes = new Map(
    candidates.flatMap(({ tensor, planName }) => (planName ? [[planName, tensor.shape]] : [])),
  )
  const architecture = chooseArchitecture(shapes, options)
  const names = assign(architecture, candidates, { ...options, prefix, naming })
  return { architecture, naming: naming.name, names }
}

/** 'module.', 'model.backbone.' …: the wrappers that every name begins with. */
function commonWrapper(tensors: readonly TensorEntry[]): string {
  const first = tensors[0]?.name ?? ''
  let prefix = ''
  for (;;) {
    const next = wrappers.exec(first.slice(prefix.length))
    if (next === null || !tensors.every(({ name }) => name.startsWith(prefix + next[0]))) return prefix
    prefix += next[0]
  }
}

function chooseArchitecture(
  shapes: Shapes,
  { architecture: asked, outputStride, source }: MatchOptions,
): Architecture {
  const found = {
    inChannels: shapes.get('conv1.weight')?.[1],
    numClasses: shapes.get('fc.weight')?.[0] ?? 0,
    outputStride,
  }
  if (typeof asked === 'string') return architectureNamed(asked, found, source)
  if (asked !== undefined) return defineArchitecture({ ...found, ...asked }, source)
  const identified = identify(shapes, source)
  if (outputStride === undefined) return identified
  return defineArchitecture({ ...identified, outputStride }, source)
}

function assign(
  architecture: Architecture,
  candidates: readonly Candidate[],
  { source, prefix, naming }: MatchOptions & { prefix: string; naming: Naming },
): Record<string, string> {
  const wanted = new Map(parametersOf(architecture).map(({ name, shape }) => [name, shape]))
  const names = new Map<string, string>()
  const unexpected: string[] = []
  const misshaped: string[] = []
  const unread: string[] = []
  for (const { tensor, planName } of candidates) {
    const shape = planName === undefined ? undefined : wanted.get(planName)
    if (planName === undefined || shape === undefined || names.has(planName)) {
      unexpected.push(`${tensor.name} [${tensor.shape.join(', ')}]`)
      continue
    }
    names.set(planName, tensor.name)
    if (tensor.shape.join() !== shape.join()) {
      misshaped.push(`${tensor.name}: expected [${shape.join(', ')}], received [${tensor.shape.join(', ')}]`)
    }
    if (!['F32', 'F16', 'BF16'].includes(tensor.dtype)) unread.push(`${tensor.name}: ${tensor.dtype}`)
  }
  const missing = [...wanted]
    .filter(([name]) => !names.has(name))
    .map(([name, shape]) => `${prefix}${naming.fromPlan(name)} [${shape.join(', ')}]`)
  if (missing.length + unexpected.length + misshaped.length > 0) {
    throw new ResNetError(
      'ERR_RESNET_MISMATCH',
      [
        `${source}: the tensors do not fit the architecture '${architecture.name}' (${naming.name}'s names)`,
        ...section('missing', missing),
        ...section('unexpected', unexpected),
        ...section('mis-shaped', misshaped),
        'Name the right architecture, or export the whole network and nothing else.',
      ].join('\n'),
    )
  }
  if (unread.length > 0) {
    const sections = section('of another type', unread).join('\n')
    throw unsupported(
      `${source}: expected tensors of type F32, F16 or BF16\n${sections}\nConvert them with .float() before saving.`,
    )
  }
  return Object.fromEntries(names)
}

/** So many names a section: enough for any real mistake, and no megabytes for a foreign file. */
const maxListed = 100

function section(title: string, lines: readonly string[]): string[] {
  if (lines.length === 0) return []
  const listed = lines
    .slice(0, maxListed)
    .map((line) => `  ${line.length > 200 ? `${line.slice(0, 200)}…` : line}`)
  const more = lines.length > maxListed ? [`  … and ${lines.length - maxListed} more`] : []
  return [`${title} (${lines.length}):`, ...listed, ...more]
}
