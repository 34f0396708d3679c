// Which preprocessing a checkpoint, its folder and the caller add up to.
import { choosePreprocessing, type PresetSources } from '../lib/image/preset.js'
import type { Preprocessing } from '../lib/image/types.js'

const imageNet = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }
const half = [0.5, 0.5, 0.5]
const metadata = (preset: object) => ({ 'resnet.preprocessing': JSON.stringify(preset) })
const timm = (config: object) => ({ architecture: 'resnet50', pretrained_cfg: { ...imageNet, ...config } })

const rows: [string, Omit<PresetSources, 'channels'>, Preprocessing][] = [
  [
    'nothing',
    {},
    { resize: 256, crop: 224, interpolation: 'bilinear', ...imageNet, source: 'torchvision V1 (assumed)' },
  ],
  [
    'metadata',
    { metadata: metadata({ resize: null, crop: null, mean: half, std: half }) },
    { resize: null, crop: null, interpolation: 'bilinear', mean: half, std: half, source: 'metadata' },
  ],
  [
    "transformers' ResNet",
    {
      preprocessorConfig: {
        crop_pct: 0.875,
        do_normalize: true,
        do_resize: true,
        feature_extractor_type: 'ConvNextFeatureExtractor',
        image_mean: imageNet.mean,
        image_std: imageNet.std,
        resample: 3,
        size: 224,
      },
    },
    { resize: 256, crop: 224, interpolation: 'bicubic', ...imageNet, source: 'preprocessor_config.json' },
  ],
  [
    'a ConvNextImageProcessor from 384 on',
    {
      preprocessorConfig: {
        image_processor_type: 'ConvNextImageProcessor',
        size: { shortest_edge: 384 },
        image_mean: half,
        image_std: half,
      },
    },
    {
      resize: [384, 384],
      crop: null,
      interpolation: 'bilinear',
      mean: half,
      std: half,
      source: 'preprocessor_config.json',
    },
  ],
  [
    'the ViT kind, scaled to -1..1 by factor and offset alone',
    {
      preprocessorConfig: {
        image_processor_type: 'ViTImageProcessor',
        size: { height: 200, width: 180 },
        resample: 2,
        rescale_factor: 1 / 127.5,
        image_mean: [1, 1, 1],
        image_std: [1, 1, 1],
      },
    },
    {
      resize: [200, 180],
      crop: null,
      interpolation: 'bilinear',
      mean: half,
      std: half,
      source: 'preprocessor_config.json',
    },
  ],
  [
    'the CLIP kind, not normalised',
    {
      preprocessorConfig: {
        size: { shortest_edge: 224 },
        do_center_crop: true,
        crop_size: { height: 224, width: 224 },
        resample: 3,
        do_normalize: false,
      },
    },
    {
      resize: 224,
      crop: [224, 224],
      interpolation: 'bicubic',
      mean: [0, 0, 0],
      std: [1, 1, 1],
      source: 'preprocessor_config.json',
    },
  ],
  [
    "timm's config.json",
    {
      config: timm({
        input_size: [3, 224, 224],
        interpolation: 'bicubic',
        crop_pct: 0.95,
        crop_mode: 'center',
      }),
    },
    { resize: 235, crop: 224, interpolation: 'bicubic', ...imageNet, source: 'config.json (timm)' },
  ],
  [
    "timm's squash",
    {
      config: timm({
        input_size: [3, 256, 192],
        interpolation: 'bilinear',
        crop_pct: 1,
        crop_mode: 'squash',
      }),
    },
    {
      resize: [256, 192],
      crop: [256, 192],
      interpolation: 'bilinear',
      ...imageNet,
      source: 'config.json (timm)',
    },
  ],
  [
    'metadata before the folder',
    { metadata: metadata({ resize: 40 }), config: timm({ crop_pct: 0.95 }) },
    { resize: 40, crop: 224, interpolation: 'bilinear', ...imageNet, source: 'metadata' },
  ],
  [
    'overrides before both',
    { metadata: metadata({ resize: 40, crop: 32 }), overrides: { crop: null, interpolation: 'bicubic' } },
    { resize: 40, crop: null, interpolation: 'bicubic', ...imageNet, source: 'options over metadata' },
  ],
  [
    'all options',
    {
      metadata: { 'resnet.preprocessing': 'not JSON' },
      overrides: { resize: 8, crop: 8, interpolation: 'bilinear', mean: half, std: half },
    },
    { resize: 8, crop: 8, interpolation: 'bilinear', mean: half, std: half, source: 'options' },
  ],
]

it.each(rows)('%s', (_, sources, expected) => {
  expect(choosePreprocessing({ channels: 3, ...sources })).toEqual(expected)
})

it('averages the means of colours for a grey network', () => {
  const { mean, std } = choosePreprocessing({ channels: 1 })
  expect(mean).toEqual([expect.closeTo(0.449, 6)])
  expect(std).toEqual([expect.closeTo(0.226, 6)])
})

it('spreads one mean over the channels', () => {
  const sources = { channels: 3, metadata: metadata({ mean: [0.1], std: [0.2] }) }
  expect(choosePreprocessing(sources)).toMatchObject({ mean: [0.1, 0.1, 0.1], std: [0.2, 0.2, 0.2] })
})

const mistakes: [string, PresetSources, string, RegExp][] = [
  [
    'metadata that is not JSON',
    { channels: 3, metadata: { 'resnet.preprocessing': '{' } },
    'ERR_RESNET_CORRUPT',
    /is not JSON/,
  ],
  [
    'metadata with another field',
    { channels: 3, metadata: metadata({ size: 3 }) },
    'ERR_RESNET_CORRUPT',
    /received 'size'/,
  ],
  [
    'metadata of a wrong kind',
    { channels: 3, metadata: metadata({ crop: '224' }) },
    'ERR_RESNET_CORRUPT',
    /expected crop .* received "224"/,
  ],
  [
    'an override of a wrong kind',
    { channels: 3, overrides: { std: [1, 0, 1] } },
    'ERR_RESNET_INVALID_ARGUMENT',
    /expected std .* received \[1,0,1\]/,
  ],
  [
    'unequal lists',
    { channels: 3, overrides: { std: [1] } },
    'ERR_RESNET_INVALID_ARGUMENT',
    /received 1 and 3/,
  ],
  [
    'two means',
    { channels: 3, overrides: { mean: [0, 0], std: [1, 1] } },
    'ERR_RESNET_INVALID_ARGUMENT',
    /Expected 3 means/,
  ],
  [
    'lanczos',
    { channels: 3, preprocessorConfig: { size: 224, resample: 1 } },
    'ERR_RESNET_UNSUPPORTED',
    /'lanczos'.*bicubic/,
  ],
  [
    "timm's border mode",
    { channels: 3, config: timm({ crop_mode: 'border' }) },
    'ERR_RESNET_UNSUPPORTED',
    /crop_mode 'border'/,
  ],
  [
    'a longest edge',
    { channels: 3, preprocessorConfig: { size: { shortest_edge: 8, longest_edge: 9 } } },
    'ERR_RESNET_UNSUPPORTED',
    /longest_edge/,
  ],
]

it.each(mistakes)('refuses %s', (_, sources, code, message) => {
  expect(() => choosePreprocessing(sources)).toThrow(
    expect.objectContaining({ code, message: expect.stringMatching(message) }),
  )
})
