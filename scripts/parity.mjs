// npm run parity [-- --only <regexp> --isa avx512,avx2 --threads n --mutation <name> --json]
//
// Every network of the fixtures against PyTorch's float32: logits at batches 1, 3 and 8 (a program that gives only
// those, as `forward` compiles it), then logits, embeddings and every stage's features at batch 8. All on each ISA tier
// of this machine; the portable tier, which is slow by design, on the smallest size of each kind of block only.
// Errors are max|ours - reference| / max|reference|.
import { createRequire } from 'node:module'
import { parseArgs } from 'node:util'
import { networkFixtures, formulaTensors, inputImages, rule, sampledError } from './formula.cjs'
import { mutations } from './parity-mutations.mjs'

const require = createRequire(import.meta.url)
const { buildNetwork, inputName, logitsName, pooledName } = require('../dist/architecture/build.js')
const { architectureNamed } = require('../dist/architecture/families.js')
const { defineArchitecture } = require('../dist/architecture/spec.js')
const { lower } = require('../dist/graph/lower.js')
const { loadBinding } = require('../dist/native/load.js')

const batches = [1, 3, 8]
const portable = /^(resnet18|resnext50_32x4d) 64x160$|^resnet20|^bottleneck/

const { values: options } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    isa: { type: 'string' },
    threads: { type: 'string', default: '0' },
    mutation: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
})

function specOf({ architecture, block, depths, outputStride, inChannels, numClasses }) {
  const own = { inChannels, numClasses }
  if (architecture === null) return defineArchitecture({ block, depths, ...own })
  return architectureNamed(architecture, { ...own, ...(outputStride === 32 ? {} : { outputStride }) })
}

/** Tensor name of a fixture → name of the graph's node that gives it. */
function outputNodes(stages, row) {
  const nodes = new Map([...stages, ['embedding', pooledName], ['logits', logitsName]])
  return row.tensors.map((tensor) => ({ tensor, node: nodes.get(tensor.name) }))
}

async function runPlan({ binding, weights, lowered, isa, batch, maxBatch, images }) {
  const program = await binding.compile({
    plan: JSON.stringify(lowered.plan),
    weights,
    maxBatch,
    threads: Number(options.threads),
    float32Precision: 'high',
    isa,
  })
  const lane = await program.createLane()
  const outputs = lowered.outputShapes.map((shape) => {
    return new Float32Array(batch * shape.reduce((product, size) => product * size, 1)).fill(Number.NaN)
  })
  await lane.run({ batch, inputs: [[images.subarray(0, (images.length / maxBatch) * batch)]], outputs: outputs.map((data) => [data]) })
  const { isa: used } = program.info
  await lane.dispose()
  program.dispose()
  if (used !== isa) throw new Error(`asked for tier ${isa}, the program runs ${used}`)
  return outputs
}

/** The rows of one network on one tier. */
async function checkNetwork(binding, row, isa, mutation) {
  const spec = specOf(row)
  const network = buildNetwork(spec)
  const graph = mutation.graph(network.graph)
  const asked = outputNodes(network.stages, row)
  const { height, width, inChannels: channels } = row
  const maxBatch = batches.at(-1)
  const images = inputImages({ images: maxBatch, channels, height, width })
  const input = { name: inputName, shape: [height, width, channels], dtype: 'float32', layout: 'nchw' }
  const lowerTo = (wanted) =>
    lower({ graph, inputs: [input], outputs: wanted.map(({ node }) => ({ name: node, layout: 'nchw' })) })
  const all = lowerTo(asked)
  const weights = binding.weightsFromFormula({
    seed: rule.seed,
    tensors: formulaTensors(row.block, all.plan.parameters),
  })
  const rows = []
  const record = (batch, lowered, wanted, outputs) => {
    const errors = wanted.map(({ tensor }, i) => {
      const data = mutation.output(tensor.name, outputs[i])
      return [tensor.name, sampledError(tensor, data, batch)]
    })
    rows.push({ network: row.name, batch, isa, outputs: wanted.length, errors: Object.fromEntries(errors) })
  }
  const head = asked.filter(({ tensor }) => tensor.name === (spec.numClasses ? 'logits' : 'embedding'))
  const alone = lowerTo(head)
  for (const batch of batches) {
    record(batch, alone, head, await runPlan({ binding, weights, lowered: alone, isa, batch, maxBatch, images }))
  }
  record(maxBatch, all, asked, await runPlan({ binding, weights, lowered: all, isa, batch: maxBatch, maxBatch, images }))
  weights.dispose()
  return rows
}

// Not Math.max: that loses NaN's meaning in a comparison that must fail on it.
const worstOf = (errors) => Object.entries(errors).reduce((worst, entry) => (entry[1] <= worst[1] ? worst : entry), ['', 0])

function print({ network, batch, isa, outputs, errors }, good) {
  const [name, error] = worstOf(errors)
  const what = outputs === 1 ? name : `all ${outputs}, worst ${name}`
  const cells = [network.padEnd(34), String(batch).padStart(2), isa.padEnd(8), error.toExponential(2).padStart(9)]
  console.log(`${cells.join('  ')}  ${rule.bound.toExponential(0)}  ${good ? 'ok    ' : 'FAILED'}  ${what}`)
}

const binding = loadBinding()
const mutation = options.mutation === undefined ? mutations.none : mutations[options.mutation]
if (!mutation) {
  console.error(`expected --mutation to be one of ${Object.keys(mutations).join(', ')}, received ${options.mutation}`)
  process.exit(2)
}
const supported = binding.cpuInfo().tiers.filter((tier) => tier.supported)
const tiers = options.isa?.split(',') ?? supported.map(({ isa }) => isa)
const { rows: fixtures, torch } = networkFixtures()
if (!options.json) {
  console.log(`against PyTorch ${torch} float32, ${binding.cpuInfo().model}, tiers ${tiers.join(', ')}`)
  console.log(`${'network'.padEnd(34)}  batch tier    error      bound`)
}
let failed = 0
let checked = 0
for (const fixture of fixtures.filter(({ name }) => new RegExp(options.only).test(name))) {
  for (const isa of tiers) {
    if (isa === 'portable' && !portable.test(fixture.name)) continue
    for (const row of await checkNetwork(binding, fixture, isa, mutation)) {
      const good = worstOf(row.errors)[1] <= rule.bound
      if (options.json) console.log(JSON.stringify({ ...row, good }))
      else print(row, good)
      checked += 1
      failed += good ? 0 : 1
    }
  }
}
if (!options.json) console.log(`${checked - failed} of ${checked} within ${rule.bound}`)
process.exitCode = checked > 0 && failed === 0 ? 0 : 1
