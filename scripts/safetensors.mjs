// Reads and writes .safetensors files for the scripts and the benchmark; the package's own reader is native.
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'

/**
 * @param {string} path
 * @param {Iterable<{ name: string, shape: readonly number[], data: () => Float32Array }>} tensors data made on demand
 * @param {Record<string, string>} metadata
 */
export function writeSafetensors(path, tensors, metadata = {}) {
  const header = { __metadata__: { format: 'pt', ...metadata } }
  let end = 0
  for (const { name, shape } of tensors) {
    const begin = end
    end += 4 * shape.reduce((product, size) => product * size, 1)
    header[name] = { dtype: 'F32', shape, data_offsets: [begin, end] }
  }
  const json = Buffer.from(JSON.stringify(header))
  const padded = Buffer.concat([json, Buffer.alloc((8 - (json.length % 8)) % 8, ' ')])
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(padded.length))
  const file = openSync(path, 'w')
  try {
    writeSync(file, length)
    writeSync(file, padded)
    for (const tensor of tensors) {
      const data = tensor.data()
      writeSync(file, Buffer.from(data.buffer, data.byteOffset, data.byteLength))
    }
  } finally {
    closeSync(file)
  }
}

const convert = {
  F32: (buffer) => new Float32Array(buffer),
  F16: (buffer) => Float32Array.from(new Uint16Array(buffer), float16),
  BF16: (buffer) => new Float32Array(Uint32Array.from(new Uint16Array(buffer), (bits) => bits << 16).buffer),
}

function float16(bits) {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

/** @returns {{ tensors: Map<string, { shape: number[], read: () => Float32Array }>, metadata: Record<string, string> }} */
export function readSafetensors(path) {
  const file = readFileSync(path)
  const start = 8 + Number(file.readBigUInt64LE(0))
  const { __metadata__: metadata = {}, ...header } = JSON.parse(file.toString('utf8', 8, start))
  const tensors = new Map()
  for (const [
    name,
    {
      dtype,
      shape,
      data_offsets: [begin, end],
    },
  ] of Object.entries(header)) {
    const read = () => {
      if (!convert[dtype]) throw new Error(`${name}: expected F32, F16 or BF16, received ${dtype}`)
      return convert[dtype](new Uint8Array(file.subarray(start + begin, start + end)).buffer)
    }
    tensors.set(name, { shape, read })
  }
  return { tensors, metadata }
}
