import { readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { invalidArgument, ResNetError, unsupported } from '../errors.js'
import { describe } from '../options.js'

/** Where weights may come from: a path (every string is one), a `file:` URL, or the bytes of a .safetensors file. */
export type WeightsSource = string | URL | Uint8Array

/** A checkpoint to open, and what lies beside it in a folder laid out as on the Hugging Face hub. */
export interface Located {
  /** What messages call it. */
  name: string
  path?: string
  bytes?: Uint8Array
  /** config.json and preprocessor_config.json, parsed. */
  config?: unknown
  preprocessorConfig?: unknown
  /** What config.json says of the network's stride; shapes cannot. */
  outputStride?: number
}

/**
 * Finds the checkpoint of a source; reads a folder's small files, not the tensors.
 * @throws ERR_RESNET_INVALID_ARGUMENT for what is no source; ERR_RESNET_IO for a missing file; ERR_RESNET_UNSUPPORTED for
 * a pickle or another program's format; ERR_RESNET_CORRUPT for a folder's malformed JSON.
 */
export async function locate(source: WeightsSource, signal?: AbortSignal): Promise<Located> {
  if (source instanceof Uint8Array) return { name: `${source.length} bytes`, bytes: source }
  const file = pathOf(source)
  refuseOtherFormats(file)
  const stats = await stat(file).catch((cause) => {
    throw new ResNetError('ERR_RESNET_IO', `ResNet.load: cannot read '${file}': ${cause.message}`, { cause })
  })
  if (stats.isDirectory()) return locateInFolder(file, signal)
  // The hub's own file name: what lies beside it belongs to it, whichever of the two the caller points at.
  if (path.basename(file) === checkpointName) return locateInFolder(path.dirname(file), signal)
  return { name: file, path: file }
}

const checkpointName = 'model.safetensors'

function pathOf(source: unknown): string {
  const expected = 'a path, a file: URL or the bytes of a .safetensors file'
  if (typeof source === 'string') {
    const scheme = /^(https?|file):\/\//i.exec(source)?.[1]?.toLowerCase()
    if (scheme === 'file') {
      throw invalidArgument(`ResNet.load: a string is always a path; pass new URL('${source}') instead`)
    }
    if (scheme !== undefined) throw refuseAddress(source)
    if (source !== '') return source
  }
  if (source instanceof URL) {
    if (source.protocol === 'file:') return fileURLToPath(source)
    throw refuseAddress(source.href)
  }
  throw invalidArgument(`ResNet.load: expected source to be ${expected}, received ${describe(source)}`)
}

function refuseAddress(address: string): ResNetError {
  return invalidArgument(
    `ResNet.load: weights are files, received the address '${address}'; download it first and pass the path`,
  )
}

const pickles = new Set(['.pth', '.pt', '.bin', '.ckpt', '.pkl', '.tar'])
const otherFormats = new Set(['.onnx', '.h5', '.pb', '.tflite', '.msgpack', '.gguf', '.npz'])

function refuseOtherFormats(file: string): void {
  const extension = path.extname(file).toLowerCase()
  if (pickles.has(extension)) throw refusePickle(file, extension)
  if (!otherFormats.has(extension)) return
  throw unsupported(
    `ResNet.load: expected a .safetensors file, received '${file}'; export the PyTorch weights with ` +
      'safetensors.torch.save_file(model.state_dict(), …)',
  )
}

function refusePickle(file: string, extension: string): ResNetError {
  const target = `${file.slice(0, -extension.length)}.safetensors`
  const quoted = (text: string) => JSON.stringify(text)
  return unsupported(
    [
      `ResNet.load: '${file}' is a PyTorch pickle, which is a program and is not run. Convert it once, in Python:`,
      '  import torch, safetensors.torch',
      `  safetensors.torch.save_file({k: v.contiguous() for k, v in torch.load(${quoted(file)}, weights_only=True).items()}, ${quoted(target)})`,
    ].join('\n'),
  )
}

async function locateInFolder(folder: string, signal?: AbortSignal): Promise<Located> {
  const file = path.join(folder, checkpointName)
  if (!(await exists(file))) throw await refuseFolder(folder)
  const [config, preprocessorConfig] = await Promise.all([
    readJson(path.join(folder, 'config.json'), signal),
    readJson(path.join(folder, 'preprocessor_config.json'), signal),
  ])
  const outputStride = readConfig(config, path.join(folder, 'config.json'))
  return { name: file, path: file, config, preprocessorConfig, outputStride }
}

async function refuseFolder(folder: string): Promise<ResNetError> {
  const pickle = path.join(folder, 'pytorch_model.bin')
  if (await exists(pickle)) return refusePickle(pickle, '.bin')
  if (await exists(path.join(folder, 'model.safetensors.index.json'))) {
    return unsupported(
      `ResNet.load: the checkpoint in '${folder}' is split into several files; save it as one`,
    )
  }
  return new ResNetError(
    'ERR_RESNET_IO',
    `ResNet.load: expected model.safetensors (beside it config.json and preprocessor_config.json) in the folder ` +
      `'${folder}', found none; pass the file itself if it is called otherwise`,
  )
}

async function exists(file: string): Promise<boolean> {
  return stat(file).then(
    (stats) => stats.isFile(),
    () => false,
  )
}

async function readJson(file: string, signal?: AbortSignal): Promise<unknown> {
  if (!(await exists(file))) return undefined
  try {
    return JSON.parse(await readFile(file, { encoding: 'utf8', signal }))
  } catch (cause) {
    signal?.throwIfAborted()
    const code = cause instanceof SyntaxError ? 'ERR_RESNET_CORRUPT' : 'ERR_RESNET_IO'
    throw new ResNetError(code, `ResNet.load: cannot read '${file}': ${(cause as Error).message}`, { cause })
  }
}

/** The fields of a transformers or timm config that shapes cannot tell, and the values that are built. */
const builtFields: Record<string, readonly unknown[]> = {
  downsample_in_bottleneck: [false],
  downsample_in_first_stage: [false],
  hidden_act: ['relu'],
  global_pool: ['avg'],
}
/** The same for timm's model_args, the arguments that the network was made with. */
const builtArguments: Record<string, readonly unknown[]> = {
  act_layer: ['relu'],
  aa_layer: [],
  norm_layer: ['batchnorm', 'batchnorm2d'],
  attn_layer: [],
  global_pool: ['avg'],
}

/**
 * The output stride that a config names, when it names one.
 * @throws ERR_RESNET_UNSUPPORTED for kinds of the network that are not built.
 */
function readConfig(config: unknown, file: string): number | undefined {
  const fields = objectIn(config)
  if (fields.model_type !== undefined && fields.model_type !== 'resnet') {
    throw unsupported(
      `ResNet.load: expected model_type 'resnet' in ${file}, received ${describe(fields.model_type)}`,
    )
  }
  // timm's anti-aliased networks have the tensors of the plain ones.
  if (typeof fields.architecture === 'string' && /^resnet(aa|blur)/.test(fields.architecture)) {
    throw unsupported(
      `ResNet.load: ${file} names the architecture '${fields.architecture}', whose anti-aliasing this version does not build`,
    )
  }
  const modelArguments = objectIn(fields.model_args)
  refuseOthers(fields, builtFields, file)
  refuseOthers(modelArguments, builtArguments, `model_args of ${file}`)
  const stride = modelArguments.output_stride
  if (stride === undefined || stride === null) return undefined
  if (stride === 8 || stride === 16 || stride === 32) return stride
  throw unsupported(
    `ResNet.load: expected output_stride 8, 16 or 32 in model_args of ${file}, received ${describe(stride)}`,
  )
}

function objectIn(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

function refuseOthers(
  fields: Record<string, unknown>,
  built: Record<string, readonly unknown[]>,
  where: string,
): void {
  for (const [name, accepted] of Object.entries(built)) {
    const received = fields[name]
    if (received === undefined || received === null || accepted.includes(received)) continue
    const expected = accepted.length > 0 ? describe(accepted[0]) : 'null'
    throw unsupported(
      `ResNet.load: expected ${name} ${expected} in ${where}, received ${describe(received)}; this version builds the ` +
        'blocks of torchvision (stride in the 3×3, batch norm, relu)',
    )
  }
}
