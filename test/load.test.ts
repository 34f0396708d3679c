import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { defineArchitecture } from '../lib/architecture/spec.js'
import { imagenetLabels } from '../lib/imagenet-labels.js'
import { type LoadOptions, ResNet, Tensor } from '../lib/index.js'
import { transformers } from '../lib/weights/names/transformers.js'
import { refusal } from './support/refusal.js'
import { safetensors } from './support/safetensors.js'
import { parameters, small, smallOptions } from './support/small-network.js'

const folder = mkdtempSync(path.join(tmpdir(), 'resnet-load-'))
afterAll(() => rmSync(folder, { recursive: true }))

const file = (name: string, bytes: string | Uint8Array) => {
  const where = path.join(folder, name)
  writeFileSync(where, bytes)
  return where
}
function hubFolder(files: Record<string, string | Uint8Array>): string {
  const where = mkdtempSync(path.join(folder, 'hub-'))
  for (const [name, bytes] of Object.entries(files)) writeFileSync(path.join(where, name), bytes)
  return where
}
const bytes = safetensors(parameters(small))
const renamed = safetensors(parameters(small, transformers.fromPlan))
const x = Tensor.from(
  Float32Array.from({ length: 2 * 3 * 9 * 7 }, (_, i) => Math.cos(i)),
  [2, 3, 9, 7],
)

async function logits(source: Parameters<typeof ResNet.load>[0], options = {}): Promise<Float32Array> {
  const model = await ResNet.load(source, options)
  try {
    return (await model.forward(x)).data as Float32Array
  } finally {
    await model.dispose()
  }
}

describe('sources', () => {
  test('a path, a URL, bytes and a folder give the same network', async () => {
    const where = file('small.safetensors', bytes)
    const expected = await logits(where)
    expect(expected.every(Number.isFinite)).toBe(true)
    expect(new Set(expected).size).toBe(6)
    expect(await logits(pathToFileURL(where))).toEqual(expected)
    expect(await logits(bytes)).toEqual(expected)
    expect(await logits(hubFolder({ 'model.safetensors': bytes }))).toEqual(expected)
    expect(await logits(renamed)).toEqual(expected)
  })

  test('what the checkpoint is stays readable after its file is gone', async () => {
    const where = file('gone.safetensors', bytes)
    const model = await ResNet.load(where)
    rmSync(where)
    expect((await model.forward(x)).shape).toEqual([2, 3])
    await model.dispose()
  })

  test('the architecture is told', async () => {
    const model = await ResNet.load(bytes)
    expect(model.architecture).toEqual(small)
    expect(model).toMatchObject({ device: 'cpu', dtype: 'float32' })
    await model.dispose()
  })

  test.each([
    ['a missing file', () => path.join(folder, 'nowhere.safetensors'), 'ERR_RESNET_IO', 'nowhere'],
    [
      'an address',
      () => new URL('https://example.org/model.safetensors'),
      'ERR_RESNET_INVALID_ARGUMENT',
      'files',
    ],
    ['an address as a string', () => 'http://example.org/a', 'ERR_RESNET_INVALID_ARGUMENT', 'files'],
    ['a file: address as a string', () => 'file:///a', 'ERR_RESNET_INVALID_ARGUMENT', "new URL('file:///a')"],
    ['a number', () => 7 as never, 'ERR_RESNET_INVALID_ARGUMENT', 'received 7'],
    ['an empty string', () => '', 'ERR_RESNET_INVALID_ARGUMENT', "received ''"],
    ['a pickle', () => file('r.pth', 'x'), 'ERR_RESNET_UNSUPPORTED', 'safetensors.torch.save_file('],
    ['another format', () => file('r.onnx', 'x'), 'ERR_RESNET_UNSUPPORTED', '.safetensors'],
    ['a text file', () => file('text.safetensors', 'to be or not to be'), 'ERR_RESNET_CORRUPT', 'text'],
    ['half a file', () => file('half.safetensors', bytes.subarray(0, 4000)), 'ERR_RESNET_CORRUPT', 'half'],
    ['an empty folder', () => hubFolder({}), 'ERR_RESNET_IO', 'model.safetensors'],
    [
      'a folder with a pickle',
      () => hubFolder({ 'pytorch_model.bin': 'x' }),
      'ERR_RESNET_UNSUPPORTED',
      'torch.load',
    ],
    [
      'a folder with broken JSON',
      () => hubFolder({ 'model.safetensors': bytes, 'config.json': '{' }),
      'ERR_RESNET_CORRUPT',
      'config.json',
    ],
    [
      'a folder of another model',
      () => hubFolder({ 'model.safetensors': bytes, 'config.json': '{"model_type":"vit"}' }),
      'ERR_RESNET_UNSUPPORTED',
      "'vit'",
    ],
    [
      'anti-aliasing',
      () => hubFolder({ 'model.safetensors': bytes, 'config.json': '{"architecture":"resnetaa50"}' }),
      'ERR_RESNET_UNSUPPORTED',
      "'resnetaa50'",
    ],
    [
      'stride in the 1x1',
      () => hubFolder({ 'model.safetensors': bytes, 'config.json': '{"downsample_in_bottleneck":true}' }),
      'ERR_RESNET_UNSUPPORTED',
      'downsample_in_bottleneck',
    ],
    [
      "the hub's file by its own path, with a config that shapes cannot tell",
      () => {
        const config = '{"hidden_act":"gelu"}'
        return path.join(
          hubFolder({ 'model.safetensors': bytes, 'config.json': config }),
          'model.safetensors',
        )
      },
      'ERR_RESNET_UNSUPPORTED',
      'hidden_act',
    ],
    ...[
      { act_layer: 'silu' },
      { aa_layer: 'blurpool' },
      { norm_layer: 'groupnorm' },
      { global_pool: 'max' },
      { output_stride: 4 },
    ].map(
      (model_args) =>
        [
          `timm's ${Object.keys(model_args)[0]}`,
          () => hubFolder({ 'model.safetensors': bytes, 'config.json': JSON.stringify({ model_args }) }),
          'ERR_RESNET_UNSUPPORTED',
          Object.keys(model_args)[0] as string,
        ] as const,
    ),
  ])('refused: %s', async (_, source, code, word) => {
    const error = await refusal(() => ResNet.load(source()))
    expect(error.code).toBe(code)
    expect(error.message).toContain(word)
  })

  test('a network that does not fit is listed', async () => {
    const error = await refusal(() => ResNet.load(safetensors(parameters(small).slice(3))))
    expect(error.code).toBe('ERR_RESNET_MISMATCH')
  })
})

test('the file of a hub folder brings the labels that lie beside it', async () => {
  const config = JSON.stringify({ id2label: { 0: 'x', 1: 'y', 2: 'z' }, model_args: { act_layer: 'relu' } })
  const folder = hubFolder({ 'model.safetensors': bytes, 'config.json': config })
  const model = await ResNet.load(path.join(folder, 'model.safetensors'))
  expect(model.labels).toEqual(['x', 'y', 'z'])
  await model.dispose()
})

test("timm's output_stride is the network's, unless the caller names one", async () => {
  const deep = defineArchitecture({
    ...smallOptions,
    depths: [1, 1, 1, 1],
    widths: [8, 16, 24, 32],
    stem: 'imagenet',
  })
  const config = JSON.stringify({ model_args: { output_stride: 8 } })
  const folder = hubFolder({ 'model.safetensors': safetensors(parameters(deep)), 'config.json': config })
  const strides = [{}, { outputStride: 32 }].map(async (options) => {
    const model = await ResNet.load(folder, options as LoadOptions)
    await model.dispose()
    return model.architecture.outputStride
  })
  expect(await Promise.all(strides)).toEqual([8, 32])
})

describe('options', () => {
  test.each([
    [{ device: 'cuda:0' }, 'ERR_RESNET_UNAVAILABLE', "'cuda:0'"],
    [{ device: 'gpu' }, 'ERR_RESNET_INVALID_ARGUMENT', "'gpu'"],
    [{ dtype: 'float16' }, 'ERR_RESNET_UNSUPPORTED', "'float16'"],
    [{ float32Precision: 'tf32' }, 'ERR_RESNET_UNSUPPORTED', "'tf32'"],
    [{ threads: -1 }, 'ERR_RESNET_INVALID_ARGUMENT', 'threads'],
    [{ maxBatch: 0 }, 'ERR_RESNET_INVALID_ARGUMENT', 'maxBatch'],
    [{ labels: ['a', 'b'] }, 'ERR_RESNET_INVALID_ARGUMENT', 'expected 3 labels'],
    [{ labels: 'abc' }, 'ERR_RESNET_INVALID_ARGUMENT', 'labels'],
    [{ architecture: 'resnet18' }, 'ERR_RESNET_MISMATCH', "'resnet18'"],
    [{ architecture: 'resnet' }, 'ERR_RESNET_INVALID_ARGUMENT', 'one of resnet18'],
    [{ outputStride: 16 }, 'ERR_RESNET_INVALID_ARGUMENT', 'outputStride'],
    [{ preprocess: { resize: -1 } }, 'ERR_RESNET_INVALID_ARGUMENT', 'resize'],
    [{ imageLimits: { maxPixel: 1 } }, 'ERR_RESNET_INVALID_ARGUMENT', "'maxPixels'"],
    [{ thread: 2 }, 'ERR_RESNET_INVALID_ARGUMENT', "did you mean 'threads'?"],
  ])('refused: %j', async (options, code, word) => {
    const error = await refusal(() => ResNet.load(bytes, options as never))
    expect(error.code).toBe(code)
    expect(error.message).toContain(word)
  })

  test('a spec of one own', async () => {
    expect(await logits(bytes, { architecture: smallOptions })).toEqual(await logits(bytes))
    const other = await logits(bytes, { architecture: { ...smallOptions, normEps: 0.1 } })
    expect(other).not.toEqual(await logits(bytes))
  })

  test('progress ends at 1', async () => {
    const seen: number[] = []
    const model = await ResNet.load(bytes, { onProgress: ({ fraction }) => seen.push(fraction) })
    expect(seen).toEqual([...seen].sort())
    expect(seen.at(-1)).toBe(1)
    await model.dispose()
  })

  test('an aborted load rejects with the reason', async () => {
    const reason = new Error('never mind')
    await expect(ResNet.load(bytes, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    const abort = new AbortController()
    const loading = ResNet.load(bytes, { signal: abort.signal })
    abort.abort(reason)
    await expect(loading).rejects.toBe(reason)
  })

  test('auto says why it took the CPU', async () => {
    const model = await ResNet.load(bytes, { threads: 1 })
    const { considered, ...chosen } = model.explainDevice()
    expect(chosen).toMatchObject({ device: 'cpu', dtype: 'float32', threads: 1, threadsFrom: 'options' })
    expect(considered.map(({ device, chosen }) => [device, chosen])).toEqual([
      ['cuda', false],
      ['cpu', true],
    ])
    await model.dispose()
  })
})

describe('labels and preprocessing', () => {
  const labelled = (metadata: Record<string, string>) => safetensors(parameters(small), metadata)
  const labelsOf = async (source: Parameters<typeof ResNet.load>[0], options = {}) => {
    const model = await ResNet.load(source, options)
    await model.dispose()
    return model.labels
  }
  const metadata = { 'resnet.labels': '["a","b","c"]' }

  test('precedence: option, metadata, config.json, numbers', async () => {
    const config = JSON.stringify({ id2label: { 0: 'x', 2: 'z', 1: 'y' } })
    const both = hubFolder({ 'model.safetensors': labelled(metadata), 'config.json': config })
    expect(await labelsOf(both, { labels: ['1', '2', '3'] })).toEqual(['1', '2', '3'])
    expect(await labelsOf(both)).toEqual(['a', 'b', 'c'])
    expect(await labelsOf(hubFolder({ 'model.safetensors': bytes, 'config.json': config }))).toEqual([
      'x',
      'y',
      'z',
    ])
    expect(await labelsOf(bytes)).toEqual(['class 0', 'class 1', 'class 2'])
  })

  test("1,000 classes are ImageNet's", async () => {
    const model = await ResNet.create({ ...smallOptions, numClasses: 1000 })
    expect(model.labels).toHaveLength(1000)
    expect([model.labels[0], model.labels[281], model.labels[999]]).toEqual([
      'tench',
      'tabby',
      'toilet tissue',
    ])
    expect(new Set(imagenetLabels).size).toBeGreaterThan(990)
    await model.dispose()
  })

  test.each([
    ['no JSON', { 'resnet.labels': 'a,b,c' }, 'ERR_RESNET_CORRUPT'],
    ['no list', { 'resnet.labels': '{"0":"a"}' }, 'ERR_RESNET_CORRUPT'],
    ['too few', { 'resnet.labels': '["a"]' }, 'ERR_RESNET_MISMATCH'],
    ['an architecture that is no JSON', { 'resnet.architecture': '{' }, 'ERR_RESNET_CORRUPT'],
    ['an architecture that is none', { 'resnet.architecture': 'resnet51' }, 'ERR_RESNET_CORRUPT'],
    ['preprocessing that is no JSON', { 'resnet.preprocessing': '{' }, 'ERR_RESNET_CORRUPT'],
  ])('metadata with %s', async (_, metadata, code) => {
    expect((await refusal(() => ResNet.load(labelled(metadata as Record<string, string>)))).code).toBe(code)
  })

  test('metadata names the architecture and the preprocessing', async () => {
    const preprocessing = { resize: 8, crop: 8, interpolation: 'bicubic', mean: [0, 0, 0], std: [1, 1, 1] }
    const model = await ResNet.load(
      labelled({
        'resnet.architecture': JSON.stringify({ ...smallOptions, name: 'tiny' }),
        'resnet.preprocessing': JSON.stringify(preprocessing),
      }),
    )
    expect(model.architecture.name).toBe('tiny')
    expect(model.preprocessing).toEqual({ ...preprocessing, source: 'metadata' })
    await model.dispose()
  })

  test('without any, the preset says that it is assumed', async () => {
    const model = await ResNet.load(bytes)
    expect(model.preprocessing).toMatchObject({ resize: 256, crop: 224, source: 'torchvision V1 (assumed)' })
    await model.dispose()
  })
})
