// Writes a checkpoint as an ONNX file, from the package's own plan.
//
//   node scripts/export-onnx.mjs resnet50.safetensors resnet50.onnx --architecture resnet50 [--size 224x224]
//
// Tensor names must be torchvision's. The batch size stays open, the image size does not: a plan has one.
import { createRequire } from 'node:module'
import { parseArgs } from 'node:util'
import { readSafetensors } from './safetensors.mjs'

const require = createRequire(import.meta.url)

/** The plan that gives logits for float32 NCHW images of one size. */
export function logitsPlan({ architecture, height, width }) {
  const { architectureNamed } = require('../dist/architecture/families.js')
  const { logitsPlan: planOf } = require('../dist/bench/onnx.js')
  const spec = typeof architecture === 'string' ? architectureNamed(architecture) : architecture
  return planOf(spec, { height, width })
}

/** @param {{ checkpoint: string, output: string, architecture: string | object, height: number, width: number }} options */
export function exportOnnx({ checkpoint, output, ...network }) {
  const { writeOnnx } = require('../dist/bench/onnx.js')
  const { tensors } = readSafetensors(checkpoint)
  writeOnnx(output, logitsPlan(network), (name) => {
    const tensor = tensors.get(name)
    if (!tensor) throw new Error(`${checkpoint} has no tensor ${name}, which ${network.architecture} needs`)
    return tensor.read()
  })
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { architecture: { type: 'string' }, size: { type: 'string', default: '224x224' } },
  })
  const [checkpoint, output] = positionals
  const [height, width] = values.size.split('x').map(Number)
  if (!output || !values.architecture || !height || !width) {
    console.error(
      'usage: node scripts/export-onnx.mjs <in.safetensors> <out.onnx> --architecture <name> [--size HxW]',
    )
    process.exit(2)
  }
  exportOnnx({ checkpoint, output, architecture: values.architecture, height, width })
}
