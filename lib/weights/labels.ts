import { invalidArgument, ResNetError } from '../errors.js'
import { imagenetLabels } from '../imagenet-labels.js'

/** What may name the classes, in falling precedence. */
export interface LabelSources {
  /** The caller's. */
  option?: readonly string[]
  /** The checkpoint's metadata: 'resnet.labels' is a JSON list. */
  metadata?: Readonly<Record<string, string>>
  /** A folder's config.json: transformers' id2label or timm's label_names. */
  config?: unknown
  numClasses: number
}

/**
 * One name per class: the caller's, the checkpoint's, the folder's, ImageNet's for 1,000 classes, else 'class N'.
 * @throws ERR_RESNET_INVALID_ARGUMENT for a list of the caller's that is too long or short; ERR_RESNET_CORRUPT for
 * malformed metadata; ERR_RESNET_MISMATCH for a file's list of another length.
 */
export function chooseLabels({ option, metadata, config, numClasses }: LabelSources): readonly string[] {
  const labels = option ?? fromMetadata(metadata) ?? fromConfig(config) ?? assumed(numClasses)
  if (labels.length === numClasses) return Object.freeze([...labels])
  const problem = `expected ${numClasses} labels, one per class, received ${labels.length}`
  if (option !== undefined) throw invalidArgument(`labels: ${problem}`)
  throw new ResNetError('ERR_RESNET_MISMATCH', `the checkpoint's labels: ${problem}; pass labels: […]`)
}

function fromMetadata(metadata: LabelSources['metadata']): readonly string[] | undefined {
  const text = metadata?.['resnet.labels']
  if (text === undefined) return undefined
  let labels: unknown
  try {
    labels = JSON.parse(text)
  } catch {
    // Not JSON is refused below, with what is no list of names.
  }
  if (isNames(labels)) return labels
  throw new ResNetError(
    'ERR_RESNET_CORRUPT',
    `the checkpoint's metadata 'resnet.labels': expected a JSON list of strings, received ${text.slice(0, 80)}`,
  )
}

function fromConfig(config: unknown): readonly string[] | undefined {
  const { id2label, label_names: names } = (config ?? {}) as Record<string, unknown>
  if (isNames(names)) return names
  if (typeof id2label !== 'object' || id2label === null) return undefined
  const labels = Object.entries(id2label).sort(([a], [b]) => Number(a) - Number(b))
  const inOrder = labels.every(([id], index) => Number(id) === index)
  const values = labels.map(([, label]) => label)
  return inOrder && isNames(values) ? values : undefined
}

function assumed(numClasses: number): readonly string[] {
  if (numClasses === imagenetLabels.length) return imagenetLabels
  return Array.from({ length: numClasses }, (_, index) => `class ${index}`)
}

function isNames(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((label) => typeof label === 'string')
}
