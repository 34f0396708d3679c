// One network of the fixtures on one ISA tier: its errors against PyTorch, through the package's API, or through a plan
// that a mutation has spoilt.
import { createRequire } from 'node:module'
import { formulaTensors, inputImages, parameterRange, rule, sampledError } from './formula.cjs'

const require = createRequire(import.meta.url)
const { buildNetwork, inputName, logitsName, pooledName } = require('../dist/architecture/build.js')
const { architectureNamed } = require('../dist/architecture/families.js')
const { defineArchitecture } = require('../dist/architecture/spec.js')
const { lower } = require('../dist/graph/lower.js')
const { loadBinding } = require('../dist/native/load.js')
const { createFromFormula } = require('../dist/resnet.js')
const { Tensor } = require('../dist/index.js')

export const binding = loadBinding()

const batches = [1, 3, 8]
const embeddingBatch = 3
const maxBatch = 8

function specOf({ architecture, block, depths, outputStride, inChannels, numClasses }) {
  const own = { inChannels, numClasses }
  if (architecture === null) return defineArchitecture({ block, depths, ...own })
  return architectureNamed(architecture, { ...own, ...(outputStride === 32 ? {} : { outputStride }) })
}

const allImages = ({ inChannels: channels, height, width }) =>
  inputImages({ images: maxBatch, channels, height, width })

/**
 * Logits at batches 1, 3 and 8, embeddings at 3, every stage's features at 8, by forward, embed and features.
 * @returns {Promise<{ network: string, isa: string, batch: number, output: string, error: number }[]>}
 */
export async function checkByApi(row, { isa, threads }) {
  const ranges = (name, shape) => parameterRange(row.block, name, shape)
  const model = await createFromFormula(specOf(row), rule.seed, ranges, { isa, threads, maxBatch })
  const images = allImages(row)
  const tensors = new Map(row.tensors.map((tensor) => [tensor.name, tensor]))
  const batchOf = (batch) => {
    const shape = [batch, row.inChannels, row.height, row.width]
    return Tensor.from(images.subarray(0, (images.length / maxBatch) * batch), shape)
  }
  const rows = []
  const record = (output, batch, { data, shape }) => {
    const tensor = tensors.get(output)
    if (shape.join() !== [batch, ...tensor.shape].join()) {
      throw new Error(`${row.name}: expected ${output} [${[batch, ...tensor.shape]}], got [${shape}]`)
    }
    rows.push({ network: row.name, isa, batch, output, error: sampledError(tensor, data, batch) })
  }
  if (tensors.has('logits')) {
    for (const batch of batches) record('logits', batch, await model.forward(batchOf(batch)))
  }
  record('embedding', embeddingBatch, await model.embed(batchOf(embeddingBatch)))
  const stages = [...tensors.keys()].filter((name) => name !== 'logits' && name !== 'embedding')
  const features = await model.features(batchOf(maxBatch), stages)
  for (const stage of stages) record(stage, maxBatch, features[stage])
  await model.dispose()
  return rows
}

/** The same errors of one plan with all outputs, at batch 1, after a mutation of its graph or of its answers. */
export async function checkByPlan(row, { isa, threads, mutation }) {
  const { height, width, inChannels } = row
  const network = buildNetwork(specOf(row))
  const nodes = new Map([...network.stages, ['embedding', pooledName], ['logits', logitsName]])
  const input = { name: inputName, shape: [height, width, inChannels], dtype: 'float32', layout: 'nchw' }
  const outputs = row.tensors.map(({ name }) => ({ name: nodes.get(name), layout: 'nchw' }))
  const { plan, outputShapes } = lower({ graph: mutation.graph(network.graph), inputs: [input], outputs })
  const tensors = formulaTensors(row.block, plan.parameters)
  const weights = binding.weightsFromFormula({ seed: rule.seed, tensors })
  const call = { plan: JSON.stringify(plan), weights, maxBatch: 1, threads, float32Precision: 'high', isa }
  const program = await binding.compile(call)
  if (program.info.isa !== isa) throw new Error(`asked for tier ${isa}, the program runs ${program.info.isa}`)
  const lane = await program.createLane()
  const results = outputShapes.map(([h, w, c]) => new Float32Array(h * w * c).fill(Number.NaN))
  const image = allImages(row).subarray(0, inChannels * height * width)
  await lane.run({ batch: 1, inputs: [[image]], outputs: results.map((data) => [data]) })
  await lane.dispose()
  await program.dispose()
  await weights.dispose()
  return row.tensors.map((tensor, i) => {
    const data = mutation.output(tensor.name, results[i])
    return { network: row.name, isa, batch: 1, output: tensor.name, error: sampledError(tensor, data, 1) }
  })
}
