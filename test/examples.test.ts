import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { transformSync } from '@swc/core'
import { register } from 'prom-client'
import sharp from 'sharp'
import { defineArchitecture } from '../lib/architecture/spec.js'
import { ops, ResNet, Tensor } from '../lib/index.js'
import { publishMetrics } from '../lib/metrics.js'
import { packageRoot } from '../lib/root.js'
import { safetensors } from './support/safetensors.js'
import { parameters, smallOptions } from './support/small-network.js'

interface Example {
  /** 'ops.ts: conv2d' */
  name: string
  code: string
}

/** The @example blocks of a source file, each called after what it documents. */
function examplesOf(file: string): Example[] {
  const text = readFileSync(path.join(packageRoot, 'lib', file), 'utf8')
  const comments = text.matchAll(/\/\*\*([\s\S]*?)\*\/\s*([^\n]*)/g)
  return Array.from(comments).flatMap(([, comment = '', documented = '']) => {
    const [, body] = comment.split('@example\n')
    const name = /\w+/.exec(documented.replace(/^((export|class|static|async|function) )+/, ''))?.[0]
    return body === undefined ? [] : [{ name: `${file}: ${name}`, code: body.replace(/^ *\* ?/gm, '') }]
  })
}

const examples = ['resnet.ts', 'ops.ts', 'tensor.ts', 'metrics.ts'].flatMap(examplesOf)
/** It has the stages that the examples ask for. */
const network = defineArchitecture({ ...smallOptions, depths: [1, 1, 1, 1], widths: [2, 2, 2, 2] })
const home = process.cwd()
const folder = mkdtempSync(path.join(tmpdir(), 'resnet-examples-'))
const filled = (shape: number[]) =>
  Tensor.from(new Float32Array(shape.reduce((product, size) => product * size, 1)).fill(0.5), shape)

/** What the examples take for granted: these files, and these names. */
const names: Record<string, unknown> = {
  ResNet,
  Tensor,
  ops,
  publishMetrics,
  register,
  paths: ['a.jpg', 'b.jpg'],
  bytes: new Uint8Array(3 * 224 * 224),
  x: filled([1, 2, 6, 6]),
  y: filled([1, 2, 6, 6]),
  weight: filled([2, 2, 3, 3]),
  bias: filled([2]),
  running_mean: filled([2]),
  running_var: filled([2]),
  features: filled([1, 4]),
  logits: filled([1, 5]),
}
/** The parameters of a block that halves the map, and an input for it. */
function block(kind: 'basic' | 'bottleneck', channels: number) {
  const spec = defineArchitecture({ block: kind, depths: [1, 1], widths: [2, 2] })
  const inside = parameters(spec).filter(({ name }) => name.startsWith('layer2.0.'))
  const tensors = inside.map(({ name, shape, data }) => [
    name.slice('layer2.0.'.length),
    Tensor.from(data, shape),
  ])
  return { parameters: Object.fromEntries(tensors), x: filled([1, channels, 6, 6]) }
}
/** Where an example needs others: a norm's weight is [C], a head's [K, C]. */
const own: Record<string, Record<string, unknown>> = {
  'ops.ts: batchNorm': { weight: filled([2]) },
  'ops.ts: linear': { weight: filled([2, 4]) },
  'ops.ts: basicBlock': block('basic', 2),
  'ops.ts: bottleneck': block('bottleneck', 8),
}

beforeAll(async () => {
  const file = (name: string) => path.join(folder, name)
  writeFileSync(file('resnet50.safetensors'), safetensors(parameters(network)))
  const raw = { width: 40, height: 30, channels: 3 as const }
  const jpeg = await sharp(Buffer.alloc(40 * 30 * 3, 99), { raw })
    .jpeg()
    .toBuffer()
  for (const name of ['cat.jpg', 'a.jpg', 'b.jpg']) writeFileSync(file(name), jpeg)
  names.model = await ResNet.load(file('resnet50.safetensors'))
  process.chdir(folder)
})
afterAll(async () => {
  process.chdir(home)
  await (names.model as ResNet).dispose()
  rmSync(folder, { recursive: true })
})

const onGpu = new Set(['tensor.ts: to'])
const hasGpu = existsSync('/dev/nvidiactl')

test('every public method and operation has an example', () => {
  const documented = new Set(examples.map(({ name }) => name))
  const methods = ['ResNet', 'load', 'create', 'forward', 'embed', 'features', 'warmup', 'classify']
  for (const name of ['classifyStream', 'embedStream', 'stats'])
    expect(documented).toContain(`resnet.ts: ${name}`)
  for (const name of methods) expect(documented).toContain(`resnet.ts: ${name}`)
  expect(documented).toContain('metrics.ts: publishMetrics')
  for (const name of Object.keys(ops)) expect(documented).toContain(`ops.ts: ${name}`)
})

test.each(examples.map(({ name, code }) => [name, code]))('%s', async (name, code) => {
  const scope = { ...names, ...own[name] }
  // A block of its own, since an example may declare a name that is given.
  const program = `export default async (${Object.keys(scope).join(', ')}) => { { ${code} } }`
  const { code: lowered } = transformSync(program, {
    jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
    module: { type: 'commonjs' },
  })
  const module = { exports: {} as { default?: (...values: unknown[]) => Promise<void> } }
  new Function('module', 'exports', 'require', lowered)(module, module.exports, require)
  const done = module.exports.default?.(...Object.values(scope))
  // Without a GPU the rest of the example is out of reach; the refusal is what its reader would get.
  if (onGpu.has(name) && !hasGpu) await expect(done).rejects.toMatchObject({ code: 'ERR_RESNET_UNAVAILABLE' })
  else await done
})
