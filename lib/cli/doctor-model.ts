import { stat } from 'node:fs/promises'
import type { ExplainRow } from '../../binding.js'
import { familyNames } from '../architecture/families.js'
import type { Device, DeviceExplanation } from '../device.js'
import { ResNetError } from '../errors.js'
import { ResNet } from '../resnet.js'
import { Tensor } from '../tensor.js'
import { asJson } from './exit.js'

/** A network for `resnet doctor` to run, and how. */
export interface ModelRequest {
  /** A checkpoint's path, or the name of an architecture, which gets random weights. */
  model: string
  device?: Device
  /** Images in the batch; 1. */
  batch?: number
  /** Height and width of the images; the model's own where it says, else 224. */
  size?: number
}

/** How every step of the network ran; or why it did not. */
export type ModelReport = ModelRun | { model: string; error: { code: string; message: string } }

interface ModelRun {
  model: string
  weights: 'checkpoint' | 'random'
  /** 'resnet50'; 'custom' for one without a name. */
  architecture: string
  batch: number
  height: number
  width: number
  device: DeviceExplanation
  /** Of `model.explain`, as they are. */
  rows: ExplainRow[]
}

/** Loads the model, runs it twice, so that times are not those of a first run, and asks how. */
export async function examineModel({ model: name, ...request }: ModelRequest): Promise<ModelReport> {
  try {
    return await run(name, request)
  } catch (error) {
    return { model: name, error: asJson(error) }
  }
}

async function run(name: string, request: Omit<ModelRequest, 'model'>): Promise<ModelRun> {
  const { device, batch = 1 } = request
  const options = { ...(device === undefined ? {} : { device }), maxBatch: batch }
  const weights = await weightsOf(name)
  const model = await (weights === 'random' ? ResNet.create(name, options) : ResNet.load(name, options))
  try {
    const { architecture } = model
    const [height, width] =
      request.size === undefined ? imageSize(model, weights) : [request.size, request.size]
    const channels = architecture.inChannels
    const pixels = Float32Array.from({ length: batch * channels * height * width }, (_, i) => Math.sin(i))
    const x = Tensor.from(pixels, [batch, channels, height, width])
    await model.forward(x)
    await model.forward(x)
    const rows = await model.explain({ height, width, batch })
    return {
      model: name,
      weights,
      architecture: architecture.name,
      batch,
      height,
      width,
      device: model.explainDevice(),
      rows,
    }
  } finally {
    await model.dispose()
  }
}

/** What is there is a checkpoint, whatever its name; what is not may be an architecture. */
async function weightsOf(name: string): Promise<ModelRun['weights']> {
  const there = await stat(name).then(
    () => true,
    () => false,
  )
  if (there) return 'checkpoint'
  if (familyNames.includes(name)) return 'random'
  // A word alone may be a name misspelt; whatever else is a path, which loading explains.
  if (!/^[a-z0-9_]+$/i.test(name)) return 'checkpoint'
  throw new ResNetError(
    'ERR_RESNET_IO',
    `expected a checkpoint's path or one of ${familyNames.join(', ')}, received '${name}', which is neither`,
  )
}

/** What the model's preprocessing ends in; of random weights, what their kind of network is made for. */
function imageSize(model: ResNet, weights: ModelRun['weights']): readonly [height: number, width: number] {
  const { crop, resize } = model.preprocessing
  const square = (size: number) => [size, size] as const
  if (weights === 'random') return square(model.architecture.stem === 'cifar' ? 32 : 224)
  const size = crop ?? resize ?? 224
  return typeof size === 'number' ? square(size) : size
}

export function modelRows(report: ModelReport | undefined): [string, string][] {
  if (report === undefined) return []
  if ('error' in report) return [['model', `${report.model}: ${report.error.code}`]]
  const { model, weights, architecture, batch, height, width, device } = report
  const { threads, dtype, isa } = device
  const what = weights === 'random' ? `${architecture}, random weights` : `${model}, ${architecture}`
  const cores = threads === 0 ? '' : `, ${threads} thread${threads === 1 ? '' : 's'}`
  return [
    ['model', `${what}; ${batch} image${batch === 1 ? '' : 's'} of ${height}x${width}`],
    ['  runs on', `${device.device}, ${device.name}, ${isa}${cores}, ${dtype}`],
    ['  ceilings', device.ceilings?.source ?? "not known; resnet bench --limits --layers measures the CPU's"],
  ]
}

const heads = { step: 'step', ms: 'ms', workspace: 'workspace', share: 'share', implementation: 'runs as' }

/** A line for every step, the batch's schedule the last; below it what was refused or beaten. */
export function stepTable(report: ModelReport | undefined): string {
  if (report === undefined || 'error' in report) return ''
  const lines = report.rows.map((row) => ({
    step: row.step,
    ms: row.milliseconds > 0 ? row.milliseconds.toFixed(4) : '-',
    workspace: row.workspaceBytes > 0 ? `${(row.workspaceBytes / 2 ** 20).toFixed(2)} MiB` : '-',
    share: row.share > 0 ? `${(row.share * 100).toFixed(1)} %` : '-',
    implementation: row.implementation,
    refused: row.refused,
  }))
  const width = (column: keyof typeof heads) =>
    Math.max(heads[column].length, ...lines.map((line) => line[column].length))
  const [step, ms, workspace, share] = [width('step'), width('ms'), width('workspace'), width('share')]
  const left = (line: typeof heads) =>
    `  ${line.step.padEnd(step)}  ${line.ms.padStart(ms)}  ${line.workspace.padStart(workspace)}  ` +
    `${line.share.padStart(share)}  ${line.implementation}\n`
  const below = ' '.repeat(step + ms + workspace + share + 10)
  const table = lines.map(
    (line) => left(line) + line.refused.map((reason) => `${below}not ${oneLine(reason)}\n`).join(''),
  )
  return `\n${left(heads)}${table.join('')}`
}

/** Reasons of libraries may have lines of their own. */
function oneLine(reason: string): string {
  return reason.replace(/\s*\n\s*/g, '; ')
}
