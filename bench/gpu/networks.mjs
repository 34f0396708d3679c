// Networks on the GPU against PyTorch on the same GPU (networks.json): every named one of ImageNet, CIFAR's, dilated ones and images
// of uneven size; logits of the same images through the package's API. The reference is PyTorch in float32 without TF32; the bound
// is twice what PyTorch itself loses in the same dtype, at least a floor. Logits of PyTorch's with one weight changed must be refused.
// Then committed answers of PyTorch's (test/fixtures/parity) at other sizes and strides, embeddings and features too.
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { inputImages, networkFixtures, parameterRange, rule, sampledError } from '../../scripts/formula.cjs'
import { openModel } from './ours.mjs'
import { dry, mode, report, scratch, unavailable } from './step.mjs'

const require = createRequire(import.meta.url)
const { Tensor } = require('../../dist/index.js')
const { errorOf, Tally } = require('../../dist/bench/gpu/compare.js')
const { architectureNamed } = require('../../dist/architecture/families.js')
const { defineArchitecture } = require('../../dist/architecture/spec.js')
const { createFromFormula } = require('../../dist/resnet.js')

const images = dry ? 2 : 8
/** Below this, rounding of the last values alone. */
const floors = { float32: rule.bound, float16: 2e-3, bfloat16: 1.6e-2 }

const fileOf = (name, dtype) => path.join(scratch, 'reference', `${name}-${dtype}.bin`)
function referenceOf(name, dtype) {
  const bytes = readFileSync(fileOf(name, dtype))
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
}

const wanted = { full: () => true, quick: ({ quick }) => quick, dry: ({ drySize }) => drySize !== undefined }[
  mode
]
const cases = require('./networks.json')
  .cases.map((row, i) => ({ ...row, file: `${row.network}-${i}`, size: dry ? row.drySize : row.size }))
  .filter(wanted)
const dtypes = ['float16', 'bfloat16', 'float32']
const tallies = Object.fromEntries(
  dtypes.map((dtype) => [dtype, new Tally(`networks beside PyTorch, ${dtype}`)]),
)

async function checkAgainstDevice({ network, file, size: [height, width], outputStride }, dtype) {
  const stride = outputStride === undefined ? '' : ` output stride ${outputStride}`
  const label = `${network} ${height}x${width}${stride} ${dtype}, logits of ${images} images`
  const reference = referenceOf(file, 'float32')
  const model = await openModel(network, dtype, { maxBatch: images, autotune: 'off', outputStride })
  const pixels = inputImages({ images, channels: 3, height, width })
  const { data } = await model.forward(Tensor.from(pixels, [images, 3, height, width]))
  await model.dispose()
  const error = errorOf(data, reference)
  const peerError = dtype === 'float32' ? undefined : errorOf(referenceOf(file, dtype), reference)
  const bound = Math.max(floors[dtype], 2 * (peerError ?? 0))
  const controlError = errorOf(data, referenceOf(file, 'wrong'))
  tallies[dtype].add({ case: label, error, bound, controlError })
  report('accuracy', {
    suite: 'networks',
    case: label,
    error,
    bound,
    good: error <= bound,
    peerError,
    controlError,
  })
}

function specOf({ architecture, block, depths, outputStride, inChannels, numClasses }) {
  const own = { inChannels, numClasses }
  if (architecture === null) return defineArchitecture({ block, depths, ...own })
  return architectureNamed(architecture, { ...own, ...(outputStride === 32 ? {} : { outputStride }) })
}

/** Logits, embedding and every stage's features of a row of the fixtures. */
async function checkFixture(row, dtype) {
  const ranges = (name, shape) => parameterRange(row.block, name, shape)
  const options = { device: 'cuda', dtype, maxBatch: 8, autotune: 'off' }
  const model = await createFromFormula(specOf(row), rule.seed, ranges, options)
  const { inChannels: channels, height, width } = row
  const x = Tensor.from(inputImages({ images: 8, channels, height, width }), [8, channels, height, width])
  const stages = row.tensors
    .map(({ name }) => name)
    .filter((name) => name !== 'logits' && name !== 'embedding')
  const found = {
    embedding: await model.embed(x),
    ...(row.numClasses > 0 ? { logits: await model.forward(x) } : {}),
    ...(await model.features(x, stages)),
  }
  await model.dispose()
  const bound = { float32: rule.bound, float16: 1e-2 }[dtype]
  for (const tensor of row.tensors) {
    const error = sampledError(tensor, found[tensor.name].data, 8)
    const label = `${row.name} ${dtype}, ${tensor.name}`
    report('accuracy', { suite: 'networks', case: label, error, bound, good: error <= bound })
  }
}

if (!existsSync(fileOf(cases[0].file, 'float32'))) {
  unavailable('the step accuracy.reference has left no answers of PyTorch: run it too (--phase accuracy)')
}
for (const row of cases) for (const dtype of row.dtypes) await checkAgainstDevice(row, dtype)
for (const tally of Object.values(tallies)) for (const check of tally.checks()) report('check', check)
if (mode !== 'quick') {
  const rows = networkFixtures().rows.filter(({ name }) =>
    (dry
      ? /^resnet20/
      : /^(resnet18|resnet50|resnext50_32x4d) 64x160$|outputStride|^bottleneck|^resnet20/
    ).test(name),
  )
  for (const row of rows) for (const dtype of ['float16', 'float32']) await checkFixture(row, dtype)
}
