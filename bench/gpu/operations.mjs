// Single operations on the GPU, each as a plan of its own, beside PyTorch on the same GPU in this run (torch_operations.py): the
// same inputs, in float32 without TF32, float16 and bfloat16. Those of test/fixtures/parity/ops.json are compared with the answers
// that are committed there too; with --role committed with nothing else, which needs no PyTorch.
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { formula, opFixtures, rule } from '../../scripts/formula.cjs'
import { graphOf } from './operation-graphs.mjs'
import { report, role, scratch, unavailable } from './step.mjs'

const require = createRequire(import.meta.url)
const { errorOf, Tally } = require('../../dist/bench/gpu/compare.js')
const { lower } = require('../../dist/graph/lower.js')
const { addon } = require('../../dist/native/call.js')
const { cudaDevice, leaseDevice } = require('../../dist/native/devices.js')
const own = require('./operations.json')

/** Of committed answers to inputs that nothing has rounded: float16 rounds inputs, weights and results. */
const committedBounds = { float32: 1e-4, float16: 1e-2 }
/** Of answers to the same rounded inputs: the result's rounding, half a unit of the last place on either side. */
const tolerances = { float32: 1e-4, float16: 2 ** -10, bfloat16: 2 ** -7 }
/** Of norms and blocks several roundings meet: of folded weights, and of what lies between convolutions. */
const roundings = { batchNorm: 2, basicBlock: 2, bottleneck: 2 }

const sizeOf = (shape) => shape.reduce((product, length) => product * length, 1)
const dataOf = (row, { name, shape, lo, hi }) =>
  formula({ seed: rule.seed, name: `${row.name}:${name}`, count: sizeOf(shape), lo, hi })

/** What is added to x, or to what a convolution makes of it. */
const secondOf = ({ op, parameters, residual }) =>
  op === 'add' ? parameters : residual === undefined ? [] : [{ name: 'residual', ...residual }]

async function run(row, dtype, device) {
  const binding = addon()
  const second = secondOf(row)
  const inputOf = (name, [, c, h = 1, w = 1]) => ({
    name,
    shape: [h, w, c],
    dtype: 'float32',
    layout: 'nchw',
  })
  const inputs = [inputOf('x', row.x.shape), ...second.map(({ shape }) => inputOf('y0', shape))]
  const names = row.op === 'topK' ? ['y', 'y.indices'] : ['y']
  const outputs = names.map((name) => ({ name, layout: 'nchw' }))
  const { plan, outputShapes } = lower({ graph: graphOf(row), inputs, outputs, dtype })
  const tensors = (row.op === 'add' ? [] : row.parameters).map((parameter) => ({
    name: parameter.name,
    shape: parameter.shape,
    dtype: 'float32',
    data: dataOf(row, parameter),
  }))
  const weights = binding.weightsFromTensors({ tensors })
  const batch = row.x.shape[0]
  const program = await binding.compile({
    plan: JSON.stringify(plan),
    weights,
    maxBatch: batch,
    device,
    threads: 0,
    float32Precision: 'high',
    autotune: 'off',
    graphs: true,
    workspaceLimit: 2 ** 28,
  })
  const lane = await program.createLane()
  const results = outputShapes.map(([h, w, c], i) => {
    const Kind = names[i] === 'y.indices' ? Int32Array : Float32Array
    return new Kind(batch * h * w * c).fill(-1)
  })
  const given = [dataOf(row, { name: 'x', ...row.x }), ...second.map((parameter) => dataOf(row, parameter))]
  await lane.run({ batch, inputs: given.map((data) => [data]), outputs: results.map((data) => [data]) })
  await lane.dispose()
  await program.dispose()
  await weights.dispose()
  return results
}

/** Whether a row's indices name its scores, largest first, the lower one of equals. */
function indicesFit(scores, indices, input, k) {
  const columns = (input.length * k) / scores.length
  return indices.every((index, i) => {
    if (index < 0 || index >= columns) return false
    if (input[Math.floor(i / k) * columns + index] !== scores[i]) return false
    return i % k === 0 || scores[i] < scores[i - 1] || (scores[i] === scores[i - 1] && index > indices[i - 1])
  })
}

/** A value that JSON has, for what is no number. */
const finite = (error) => (Number.isFinite(error) ? error : 1e300)

/** Against the answer that is committed; of topK in float16 equal scores may trade places: the scores alone. */
function compareCommitted(row, dtype, [values, indices]) {
  // Scores of logits in the hundreds are as wrong as float16 is coarse: not the operation's doing.
  const coarse = dtype === 'float16' && row.op === 'softmax' && row.x.hi > 10
  const bound = coarse ? 0.2 : committedBounds[dtype]
  const other = indices && dtype === 'float32' && Array.from(indices).join() !== row.indices.join()
  const error = other ? Number.POSITIVE_INFINITY : errorOf(values, row.expected)
  const label = `${row.name} ${dtype}, committed answer`
  report('accuracy', { suite: 'operations', case: label, error: finite(error), bound, good: error <= bound })
}

/** Against PyTorch's answers of this run, the right one and the wrong one. */
function compareWithPeer(row, dtype, [values, indices], { reference, wrong, peer, input }, tally) {
  const bound = tolerances[dtype] * (dtype === 'float32' ? 1 : (roundings[row.op] ?? 1))
  const fit = !indices || indicesFit(values, indices, input, row.options.k)
  const error = fit ? errorOf(values, reference) : Number.POSITIVE_INFINITY
  const controlError = errorOf(values, wrong)
  const found = {
    case: `${row.name} ${dtype}`,
    error: finite(error),
    bound,
    controlError: finite(controlError),
  }
  tally.add(found)
  const peerError = peer && errorOf(peer, reference)
  report('accuracy', { suite: 'operations', ...found, good: error <= bound, peerError })
}

/** PyTorch's answers by operation and dtype; undefined where the step that asks for them left none. */
function readAnswers() {
  const file = (name) => path.join(scratch, 'reference', name)
  if (!existsSync(file('operations.json'))) return undefined
  const bytes = readFileSync(file('operations.bin'))
  const all = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
  const entries = JSON.parse(readFileSync(file('operations.json'), 'utf8'))
  return new Map(
    entries.map(({ name, dtype, ...parts }) => [
      `${name} ${dtype}`,
      Object.fromEntries(
        Object.entries(parts).map(([part, [begin, count]]) => [part, all.subarray(begin, begin + count)]),
      ),
    ]),
  )
}

const committedOnly = role === 'committed'
const answers = committedOnly ? undefined : readAnswers()
if (!committedOnly && answers === undefined) {
  unavailable('the step accuracy.reference has left no answers of PyTorch: run it too (--phase accuracy)')
}
const rows = [...opFixtures().rows, ...(committedOnly ? [] : own.rows)]

const { plugin, info } = await cudaDevice(addon(), 'cuda')
const lease = await leaseDevice(plugin, info.index, 0)
for (const dtype of Object.keys(committedOnly ? committedBounds : tolerances)) {
  const tally = new Tally(`operations beside PyTorch, ${dtype}`)
  for (const row of rows) {
    try {
      const results = await run(row, dtype, lease.device)
      if (row.expected && committedBounds[dtype]) compareCommitted(row, dtype, results)
      if (!committedOnly) compareWithPeer(row, dtype, results, answers.get(`${row.name} ${dtype}`), tally)
    } catch (cause) {
      const found = { case: `${row.name} ${dtype}: ${cause.message}`, error: 1e300, bound: 0 }
      tally.add({ ...found, controlError: Number.NaN })
      report('accuracy', { suite: 'operations', ...found, good: false })
    }
  }
  if (!committedOnly) for (const check of tally.checks()) report('check', check)
}
lease.release()
