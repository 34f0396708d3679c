import { invalidArgument, ResNetError, unsupported } from '../errors.js'
import type { ImageSize, Preprocessing } from './types.js'

type Fields = Record<string, unknown>

/** What a checkpoint and its folder say about preprocessing, and what the caller wants instead. */
export interface PresetSources {
  /** Input channels of the network. */
  channels: number
  /** The checkpoint's metadata; the key 'resnet.preprocessing' counts. */
  metadata?: Readonly<Record<string, string>>
  /** preprocessor_config.json of a folder laid out by transformers, parsed. */
  preprocessorConfig?: unknown
  /** config.json of the folder, parsed; timm's carries a pretrained_cfg. */
  config?: unknown
  /** Fields that replace those of the preset. */
  overrides?: Partial<Omit<Preprocessing, 'source'>>
}

/** What torchvision's first weights were evaluated with; the assumption where nothing says better. */
const torchvisionV1: Preprocessing = {
  resize: 256,
  crop: 224,
  interpolation: 'bilinear',
  mean: [0.485, 0.456, 0.406],
  std: [0.229, 0.224, 0.225],
  source: 'torchvision V1 (assumed)',
}

/**
 * The preprocessing of a network: overrides over the checkpoint's own metadata, the folder's
 * preprocessor_config.json, timm's config.json, or else torchvision's V1 preset.
 *
 * @throws ERR_RESNET_CORRUPT for malformed metadata or configuration, ERR_RESNET_UNSUPPORTED for an interpolation or
 * crop that is not had here, ERR_RESNET_INVALID_ARGUMENT for a bad override.
 */
export function choosePreprocessing(sources: PresetSources): Preprocessing {
  const { overrides = {}, channels } = sources
  const replaced = Object.entries(overrides).filter(([, value]) => value !== undefined)
  const base = replaced.length === fieldNames.length ? torchvisionV1 : described(sources)
  if (replaced.length === 0) return perChannel(base, channels)
  const merged: Fields = { ...base, ...Object.fromEntries(replaced) }
  const fail = (text: string) => invalidArgument(`preprocess: ${text}`)
  const source = replaced.length === fieldNames.length ? 'options' : `options over ${base.source}`
  return perChannel(checkPreset(merged, source, fail), channels)
}

function described({ metadata, preprocessorConfig, config }: PresetSources): Preprocessing {
  const own = metadata?.['resnet.preprocessing']
  if (own !== undefined) return fromMetadata(own)
  if (isFields(preprocessorConfig)) return fromTransformers(preprocessorConfig)
  if (isFields(config) && isFields(config.pretrained_cfg)) return fromTimm(config.pretrained_cfg)
  return torchvisionV1
}

/** A single mean stands for every channel; RGB's means on another number of channels become their average, as in timm. */
function perChannel(preset: Preprocessing, channels: number): Preprocessing {
  const spread = (values: readonly number[]) =>
    values.length === channels ? values : Array<number>(channels).fill(average(values))
  const { mean, std } = preset
  if (mean.length !== channels && mean.length !== 1 && mean.length !== 3) {
    throw invalidArgument(
      `Expected ${channels} means in the preprocessing (from ${preset.source}), one per input channel of the network, received ${mean.length}.`,
    )
  }
  return { ...preset, mean: spread(mean), std: spread(std) }
}

const average = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length

function fromMetadata(text: string): Preprocessing {
  const where = "the checkpoint's metadata 'resnet.preprocessing'"
  const fail = (problem: string) => corrupt(`${where}: ${problem}`)
  let fields: unknown
  try {
    fields = JSON.parse(text)
  } catch (cause) {
    throw corrupt(`${where} is not JSON: ${(cause as Error).message}.`, cause)
  }
  if (!isFields(fields)) throw fail(`expected an object, received ${JSON.stringify(fields)}.`)
  return checkPreset({ ...torchvisionV1, ...fields }, 'metadata', fail)
}

/** PIL's numbers of the resampling filters. */
const pilFilters: Record<number, string> = {
  0: 'nearest',
  1: 'lanczos',
  2: 'bilinear',
  3: 'bicubic',
  4: 'box',
  5: 'hamming',
}

/** ConvNextImageProcessor (size and crop_pct) and the ViT and CLIP kind (size and crop_size). */
function fromTransformers(config: Fields): Preprocessing {
  const source = 'preprocessor_config.json'
  const fail = (problem: string) => corrupt(`${source}: ${problem}`)
  const filter = pilFilters[Number(config.resample ?? 2)] ?? String(config.resample)
  const scale = config.do_rescale === false ? 1 : Number(config.rescale_factor ?? 1 / 255)
  const normalised = config.do_normalize !== false
  // x · scale − mean over std, written for x / 255.
  const levels = (values: unknown, fallback: readonly number[]) =>
    Array.isArray(values ?? fallback)
      ? ((values ?? fallback) as number[]).map((value) => Number((value / (255 * scale)).toPrecision(12)))
      : values
  const geometry = isConvNext(config) ? convNextGeometry(config, fail) : croppedGeometry(config, fail)
  return checkPreset(
    {
      ...geometry,
      interpolation: filter,
      mean: levels(normalised ? config.image_mean : [0], torchvisionV1.mean),
      std: levels(normalised ? config.image_std : [1], torchvisionV1.std),
    },
    source,
    fail,
  )
}

function isConvNext(config: Fields): boolean {
  const kind = String(config.image_processor_type ?? config.feature_extractor_type ?? '')
  return config.crop_pct !== undefined || kind.startsWith('ConvNext')
}

function convNextGeometry(config: Fields, fail: Fail): Fields {
  const edge = isFields(config.size) ? config.size.shortest_edge : config.size
  if (config.do_resize === false) return { resize: null, crop: null }
  if (typeof edge !== 'number')
    throw fail(`expected size.shortest_edge, received ${JSON.stringify(config.size)}.`)
  // From 384 on that processor squeezes the whole image into a square.
  if (edge >= 384) return { resize: [edge, edge], crop: null }
  return { resize: Math.floor(edge / Number(config.crop_pct ?? 224 / 256)), crop: edge }
}

function croppedGeometry(config: Fields, fail: Fail): Fields {
  const size = config.size ?? 224
  const extent = (value: unknown) => (isFields(value) ? [value.height, value.width] : value)
  let resize: unknown = null
  if (config.do_resize !== false) {
    if (isFields(size) && size.shortest_edge !== undefined) {
      if (size.longest_edge !== undefined) throw unsupportedCrop('size.longest_edge')
      resize = size.shortest_edge
    } else {
      resize = isFields(size) ? extent(size) : [size, size]
    }
  }
  const crops = config.do_center_crop ?? config.crop_size !== undefined
  const crop = crops ? extent(config.crop_size ?? size) : null
  if (crops && crop === undefined) throw fail('expected crop_size beside do_center_crop.')
  return { resize, crop }
}

/** timm's evaluation transform: the shorter side to size / crop_pct, then the middle. */
function fromTimm(config: Fields): Preprocessing {
  const source = 'config.json (timm)'
  const fail = (problem: string) => corrupt(`${source}: ${problem}`)
  const [, height, width] = Array.isArray(config.input_size) ? config.input_size : [3, 224, 224]
  if (!isLength(height) || !isLength(width)) {
    throw fail(
      `expected input_size as [channels, height, width], received ${JSON.stringify(config.input_size)}.`,
    )
  }
  const cropPct = Number(config.crop_pct ?? 0.875)
  if (!(cropPct > 0)) throw fail(`expected a positive crop_pct, received ${JSON.stringify(config.crop_pct)}.`)
  const mode = config.crop_mode || 'center'
  if (mode !== 'squash' && (mode !== 'center' || height !== width)) {
    throw unsupportedCrop(`crop_mode '${mode}' with input_size ${JSON.stringify(config.input_size)}`)
  }
  const scaled = [Math.floor(height / cropPct), Math.floor(width / cropPct)]
  return checkPreset(
    {
      resize: mode === 'squash' ? scaled : scaled[0],
      crop: height === width ? height : [height, width],
      interpolation: config.interpolation ?? 'bilinear',
      mean: config.mean ?? torchvisionV1.mean,
      std: config.std ?? torchvisionV1.std,
    },
    source,
    fail,
  )
}

type Fail = (problem: string) => ResNetError
interface Field {
  expected: string
  accepts: (value: unknown) => boolean
}

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const isLength = (value: unknown): value is number => Number.isInteger(value) && (value as number) > 0
const isSize = (value: unknown): value is ImageSize =>
  isLength(value) || (Array.isArray(value) && value.length === 2 && value.every(isLength))
const areNumbers = (value: unknown, accepts: (x: number) => boolean) =>
  Array.isArray(value) && value.length > 0 && value.every((x) => Number.isFinite(x) && accepts(x))

const fields: Record<keyof Omit<Preprocessing, 'source'>, Field> = {
  resize: {
    expected: 'a positive whole number, [height, width] or null',
    accepts: (v) => v === null || isSize(v),
  },
  crop: {
    expected: 'a positive whole number, [height, width] or null',
    accepts: (v) => v === null || isSize(v),
  },
  interpolation: { expected: "'bilinear' or 'bicubic'", accepts: (v) => v === 'bilinear' || v === 'bicubic' },
  mean: { expected: 'a list of numbers, one per channel', accepts: (v) => areNumbers(v, () => true) },
  std: {
    expected: 'a list of positive numbers, one per channel',
    accepts: (v) => areNumbers(v, (x) => x > 0),
  },
}
const fieldNames = Object.keys(fields) as (keyof typeof fields)[]

function checkPreset(values: Fields, source: string, fail: Fail): Preprocessing {
  const unknown = Object.keys(values).find((name) => name !== 'source' && !(name in fields))
  if (unknown !== undefined)
    throw fail(`expected the fields ${fieldNames.join(', ')}, received '${unknown}'.`)
  for (const name of fieldNames) {
    const { expected, accepts } = fields[name]
    if (accepts(values[name])) continue
    const others = ['nearest', 'lanczos', 'box', 'hamming', 'random']
    if (name === 'interpolation' && others.includes(values[name] as string)) {
      throw unsupported(
        `Interpolation '${values[name]}' (from ${source}) is not supported; choose with preprocess: { interpolation: 'bicubic' }.`,
      )
    }
    throw fail(`expected ${name} to be ${expected}, received ${JSON.stringify(values[name])}.`)
  }
  const { resize, crop, interpolation, mean, std } = values as unknown as Preprocessing
  if (mean.length !== std.length) {
    throw fail(`expected as many std as mean values, received ${std.length} and ${mean.length}.`)
  }
  return { resize, crop, interpolation, mean, std, source }
}

function corrupt(message: string, cause?: unknown): ResNetError {
  const text = message.charAt(0).toUpperCase() + message.slice(1)
  return new ResNetError(
    'ERR_RESNET_CORRUPT',
    `${text} Repair it, or pass preprocess: { … } with all fields.`,
    { cause },
  )
}

function unsupportedCrop(what: string): ResNetError {
  return unsupported(
    `The preprocessing asks for ${what}, which is not supported; pass preprocess: { resize, crop, … } with what comes closest.`,
  )
}
