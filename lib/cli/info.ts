import type { TensorEntry } from '../../binding.js'
import type { Architecture } from '../architecture/spec.js'
import type { Preprocessing } from '../image/types.js'
import { addon, native } from '../native/call.js'
import { ResNet } from '../resnet.js'
import { type Located, locate } from '../weights/source.js'
import { asJson, complain, type ExitCode, exitCode } from './exit.js'
import { print } from './output.js'

interface Info {
  file: string
  architecture: Architecture
  /** Trained numbers: running statistics are not counted, as in PyTorch. */
  parameters: number
  labels: { count: number; source: string; names: readonly string[] }
  preprocessing: Preprocessing
  metadata: Record<string, string>
  /** Numbers by dtype of the file. */
  dtypes: Record<string, number>
  tensors: TensorEntry[]
}

/** `resnet info`: what a checkpoint is and how it would be run. */
export async function info(checkpoint: string, options: { json?: boolean }): Promise<ExitCode> {
  let found: Info
  try {
    found = await inspect(checkpoint)
  } catch (error) {
    const { code, message } = asJson(error)
    complain(`resnet: the model could not be loaded (${code}).\n${message}`)
    return exitCode.noModel
  }
  await print(options.json ? `${JSON.stringify(found)}\n` : text(found))
  return exitCode.ok
}

async function inspect(checkpoint: string): Promise<Info> {
  const located = await locate(checkpoint)
  const { tensors, metadata } = await list(located)
  const model = await ResNet.load(checkpoint)
  try {
    const { architecture, preprocessing, labels } = model
    return {
      file: located.name,
      architecture,
      parameters: tensors.filter(isTrained).reduce((sum, { shape }) => sum + elements(shape), 0),
      labels: {
        count: labels.length,
        source: labelSource(metadata, located.config, labels.length),
        names: labels,
      },
      preprocessing,
      metadata,
      dtypes: byDtype(tensors),
      tensors,
    }
  } finally {
    await model.dispose()
  }
}

async function list({
  path,
}: Located): Promise<{ tensors: TensorEntry[]; metadata: Record<string, string> }> {
  const { checkpoint, tensors, metadata } = await native(undefined, () => addon().openCheckpoint({ path }))
  await checkpoint.dispose()
  return { tensors, metadata }
}

const elements = (shape: readonly number[]) => shape.reduce((product, length) => product * length, 1)
const isTrained = ({ name }: TensorEntry) => !/(running_mean|running_var|num_batches_tracked)$/.test(name)

function byDtype(tensors: TensorEntry[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { dtype, shape } of tensors) counts[dtype] = (counts[dtype] ?? 0) + elements(shape)
  return counts
}

function labelSource(metadata: Record<string, string>, config: unknown, count: number): string {
  const { id2label, label_names: names } = (config ?? {}) as Record<string, unknown>
  if (metadata['resnet.labels'] !== undefined) return "the checkpoint's metadata"
  if (id2label !== undefined || names !== undefined) return 'config.json'
  return count === 1000 ? "ImageNet's, assumed for 1,000 classes" : 'none; classes are numbered'
}

const exampleLabels = 4
const mib = (numbers: number) => ((numbers * 4) / 2 ** 20).toFixed(1)
const count = (value: number) => value.toLocaleString('en-US')

function text({
  file,
  architecture,
  parameters,
  labels,
  preprocessing,
  metadata,
  dtypes,
  tensors,
}: Info): string {
  const { name, block, depths, numClasses, inChannels, outputStride } = architecture
  const { resize, crop, interpolation, mean, std, source } = preprocessing
  const examples = labels.names.slice(0, exampleLabels).map((label) => `'${label}'`)
  const rows: [string, string][] = [
    ['file', file],
    ['network', `${name}: ${block} blocks ${depths.join(', ')}; output stride ${outputStride}`],
    ['input', `${inChannels} channels`],
    ['classes', numClasses === 0 ? 'none (no head)' : String(numClasses)],
    [
      'labels',
      labels.count === 0
        ? 'none'
        : `${labels.source}: ${examples.join(', ')}${labels.count > exampleLabels ? ', …' : ''}`,
    ],
    ['parameters', `${count(parameters)} (${mib(parameters)} MiB as float32)`],
    ['images', `${size('resize', resize)}, ${size('crop', crop)}, ${interpolation}; from: ${source}`],
    ['', `mean ${mean.join(', ')}; std ${std.join(', ')}`],
    [
      'tensors',
      `${tensors.length}: ${Object.entries(dtypes)
        .map(([dtype, n]) => `${count(n)} numbers ${dtype}`)
        .join(', ')}`,
    ],
    ['metadata', Object.keys(metadata).join(', ') || 'none'],
  ]
  return rows.map(([title, value]) => `${title.padEnd(11)} ${value}\n`).join('')
}

function size(what: string, value: Preprocessing['resize']): string {
  if (value === null) return `no ${what}`
  return `${what} ${typeof value === 'number' ? value : value.join(' x ')}`
}
