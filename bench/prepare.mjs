// The files that the drivers load: one set of formula weights per network, as .safetensors and as ONNX.
import { existsSync, mkdirSync, renameSync } from 'node:fs'
import path from 'node:path'
import { exportOnnx, logitsPlan } from '../scripts/export-onnx.mjs'
import { formula, formulaTensors, rule } from '../scripts/formula.cjs'
import { writeSafetensors } from '../scripts/safetensors.mjs'

/** Writes `path` by way of a temporary name, so that an interrupted run leaves no half file. */
function once(file, write) {
  if (existsSync(file)) return
  write(`${file}.part`)
  renameSync(`${file}.part`, file)
}

function weightsByFormula(architecture, { block, height, width }) {
  const { parameters } = logitsPlan({ architecture, height, width })
  return formulaTensors(block, parameters).map(({ shape, ...tensor }) => {
    const count = shape.reduce((product, size) => product * size, 1)
    return { name: tensor.name, shape, data: () => formula({ seed: rule.seed, count, ...tensor }) }
  })
}

/** @returns {{ checkpoint: string, onnx: string }} */
export function prepareNetwork(folder, architecture, network) {
  mkdirSync(folder, { recursive: true })
  const stem = path.join(folder, `${architecture}-${rule.seed}-${network.height}x${network.width}`)
  const files = { checkpoint: `${stem}.safetensors`, onnx: `${stem}.onnx` }
  once(files.checkpoint, (part) => writeSafetensors(part, weightsByFormula(architecture, network)))
  once(files.onnx, (part) =>
    exportOnnx({ checkpoint: files.checkpoint, output: part, architecture, ...network }),
  )
  return files
}
