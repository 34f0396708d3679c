import { closeSync, openSync, writeSync } from 'node:fs'
import path from 'node:path'
import { architectureNamed } from '../architecture/families.js'
import { heRule } from '../formula.js'
import { logitsPlan, writeOnnx } from './onnx.js'
import { mulberry32 } from './statistics.js'
import type { Network } from './types.js'

/**
 * Random weights (He initialisation, the same every time) of a network without a checkpoint, in `folder` as .safetensors
 * and as ONNX: the files that peers read.
 */
export function seedNetwork(folder: string, network: Network): Network {
  const { name, height, width } = network
  const spec = architectureNamed(name)
  const plan = logitsPlan(spec, network)
  const rule = heRule(spec)
  const random = mulberry32(1)
  const weights = new Map(
    plan.parameters.map(({ name: parameter, shape }) => {
      const [lo, hi] = rule(parameter, shape)
      const count = shape.reduce((product, size) => product * size, 1)
      return [parameter, Float32Array.from({ length: count }, () => lo + (hi - lo) * random())]
    }),
  )
  const read = (parameter: string) => weights.get(parameter) as Float32Array
  const stem = path.join(folder, `${name}-${height}x${width}`)
  const files = { checkpoint: `${stem}.safetensors`, onnx: `${stem}.onnx` }
  writeSafetensors(
    files.checkpoint,
    plan.parameters.map(({ name: parameter, shape }) => ({ name: parameter, shape, data: read(parameter) })),
  )
  writeOnnx(files.onnx, plan, read)
  return { ...network, ...files }
}

interface Named {
  name: string
  shape: readonly number[]
  data: Float32Array
}

function writeSafetensors(file: string, tensors: readonly Named[]): void {
  let end = 0
  const rows = tensors.map(({ name, shape, data }) => {
    const begin = end
    end += data.byteLength
    return [name, { dtype: 'F32', shape, data_offsets: [begin, end] }] as const
  })
  const header = Buffer.from(JSON.stringify(Object.fromEntries(rows)))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  const handle = openSync(file, 'w')
  try {
    writeSync(handle, length)
    writeSync(handle, header)
    for (const { data } of tensors)
      writeSync(handle, Buffer.from(data.buffer, data.byteOffset, data.byteLength))
  } finally {
    closeSync(handle)
  }
}
