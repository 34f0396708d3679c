// What our program of a trial does: arithmetic per image as core counts it, and the kernels that were chosen.
import { createRequire } from 'node:module'
import { logitsPlan } from '../scripts/export-onnx.mjs'
import { formulaTensors, rule } from '../scripts/formula.cjs'

const require = createRequire(import.meta.url)

/** @returns {Promise<{ gflopPerImage: number, isa: string, weightMb: number, kernels: Record<string, number> }>} */
export async function explainTrial({ network: architecture, batch, threads }, { block, height, width }) {
  const binding = require('../dist/native/load.js').loadBinding()
  const plan = logitsPlan({ architecture, height, width })
  const tensors = formulaTensors(block, plan.parameters)
  const weights = binding.weightsFromFormula({ seed: rule.seed, tensors })
  const call = { plan: JSON.stringify(plan), weights, maxBatch: batch, threads, float32Precision: 'high' }
  const program = await binding.compile(call)
  const rows = program.explain()
  const { isa, weightBytes } = program.info
  program.dispose()
  weights.dispose()
  const kernels = {}
  for (const { kind, implementation } of rows.filter(({ flop }) => flop > 0)) {
    const key = implementation.includes(kind) ? implementation : `${kind}: ${implementation}`
    kernels[key] = (kernels[key] ?? 0) + 1
  }
  const flop = rows.reduce((sum, row) => sum + row.flop, 0)
  return { gflopPerImage: flop / 1e9, isa, weightMb: weightBytes / 1e6, kernels }
}
