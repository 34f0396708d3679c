import { types } from 'node:util'
import { Tensor } from '../lib/tensor.js'

const counting = (n: number) => Float32Array.from({ length: n }, (_, i) => i)

describe('Tensor.from', () => {
  test('copies', () => {
    const data = counting(4)
    const tensor = Tensor.from(data, [2, 2])
    data[0] = 99
    expect(Array.from(tensor.data)).toEqual([0, 1, 2, 3])
    expect(tensor).toMatchObject({ shape: [2, 2], dtype: 'float32', layout: 'nchw', device: 'cpu', size: 4 })
  })

  test('transfer takes the buffer over and empties the caller', () => {
    const data = counting(6)
    const tensor = Tensor.from(data, [1, 6], { transfer: true })
    expect(data.length).toBe(0)
    expect(Array.from(tensor.data)).toEqual([0, 1, 2, 3, 4, 5])
  })

  test('a view of part of a buffer copies its own elements and refuses transfer', () => {
    const data = counting(8)
    expect(Array.from(Tensor.from(data.subarray(2, 5), [3]).data)).toEqual([2, 3, 4])
    expect(() => Tensor.from(data.subarray(2, 5), [3], { transfer: true })).toThrow(/all of an ArrayBuffer/)
    expect(data.length).toBe(8)
  })

  test('shared memory is copied, never taken over', () => {
    const data = new Float32Array(new SharedArrayBuffer(8))
    expect(types.isArrayBuffer(Tensor.from(data, [2]).data.buffer)).toBe(true)
    expect(() => Tensor.from(data, [2], { transfer: true })).toThrow(/leave transfer out/)
  })

  test('its memory cannot be moved to another thread', () => {
    const { data } = Tensor.from(counting(2), [2])
    const { port1 } = new MessageChannel()
    try {
      port1.postMessage(data, [data.buffer as ArrayBuffer])
    } catch {
      // Refusing with an error is as good as cloning: Node 20 clones, later ones throw.
    }
    port1.close()
    expect(data.length).toBe(2)
  })

  test('dtypes follow from the array', () => {
    expect(Tensor.from(new Uint8Array(3), [3]).dtype).toBe('uint8')
    expect(Tensor.from(Buffer.from([1, 2, 3]), [3]).dtype).toBe('uint8')
    expect(Tensor.from(new Int32Array(3), [3]).dtype).toBe('int32')
    expect(Tensor.from(new Uint16Array(3), [3], { dtype: 'bfloat16' }).dtype).toBe('bfloat16')
  })

  test.each([
    ['data', () => Tensor.from([1, 2] as never, [2])],
    ['data of 4 elements', () => Tensor.from(counting(3), [2, 2])],
    ['shape', () => Tensor.from(counting(0), [0])],
    ['shape', () => Tensor.from(counting(1), [1, 1, 1, 1, 1])],
    ['shape', () => Tensor.from(counting(1), '1' as never)],
    ['shape', () => Tensor.from(counting(1), [2 ** 20, 2 ** 20])],
    ['dtype', () => Tensor.from(new Uint16Array(1), [1])],
    ['dtype', () => Tensor.from(counting(1), [1], { dtype: 'int32' })],
    ["layout 'nhwc'", () => Tensor.from(counting(2), [1, 2], { layout: 'nhwc' })],
    ["did you mean 'layout'", () => Tensor.from(counting(1), [1], { layuot: 'nhwc' } as never)],
  ])('wrong use is named: %s', (word, call) => {
    expect(call).toThrow(word)
  })
})

test.each(['transfer', 'transferToFixedLength'])("a tensor's buffer has no %s", (method) => {
  const buffer = Tensor.from(counting(4), [4]).data.buffer as unknown as Record<string, () => unknown>
  // Node 20 has no such method; later ones would free memory that a kernel reads.
  if (buffer[method] === undefined) expect(Number.parseInt(process.versions.node, 10)).toBeLessThan(21)
  else expect(buffer[method]).toThrow('cannot be transferred')
})

describe('conversions', () => {
  test('float16 bits', () => {
    const bits = new Uint16Array([0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00, 0x8000])
    const { data } = Tensor.from(bits, [6], { dtype: 'float16' }).toFloat32()
    expect(Array.from(data)).toEqual([1, -2, 2 ** -24, 65504, Number.POSITIVE_INFINITY, -0])
  })

  test('bfloat16 bits', () => {
    const { data } = Tensor.from(new Uint16Array([0x3f80, 0xc040, 0x7f80]), [3], {
      dtype: 'bfloat16',
    }).toFloat32()
    expect(Array.from(data)).toEqual([1, -3, Number.POSITIVE_INFINITY])
  })

  test('layouts there and back', () => {
    const nchw = Tensor.from(counting(2 * 3 * 2 * 2), [2, 3, 2, 2])
    const nhwc = nchw.toLayout('nhwc')
    expect(nhwc.shape).toEqual([2, 3, 2, 2])
    expect(Array.from(nhwc.data.subarray(0, 6))).toEqual([0, 4, 8, 1, 5, 9])
    expect(nhwc.toLayout('nchw').data).toEqual(nchw.data)
    expect(nchw.toLayout('nchw')).toBe(nchw)
  })

  test('a device that is not there', async () => {
    await expect(Tensor.from(counting(1), [1]).to('cuda:99')).rejects.toMatchObject({
      code: 'ERR_RESNET_UNAVAILABLE',
    })
  })
})
