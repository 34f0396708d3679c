/** One tensor of a checkpoint to write; `data` little endian. */
export interface Written {
  name: string
  shape: readonly number[]
  data: Float32Array
}

/** The bytes of a .safetensors file. */
export function safetensors(tensors: readonly Written[], metadata: Record<string, string> = {}): Buffer {
  let offset = 0
  const entries = tensors.map(({ name, shape, data }) => {
    const begin = offset
    offset += data.byteLength
    return [name, { dtype: 'F32', shape, data_offsets: [begin, offset] }]
  })
  const header = Buffer.from(JSON.stringify({ __metadata__: metadata, ...Object.fromEntries(entries) }))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  const bytes = tensors.map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength))
  return Buffer.concat([length, header, ...bytes])
}
