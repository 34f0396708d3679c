// What the types of tensors promise. `npm run lint` type-checks this file: each '@ts-expect-error' must be one.
import { type AnyTensor, type DeviceTensor, type Float32Tensor, ResNet, Tensor } from '../lib/index.js'

/** Only true for two equal types. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const same = <A, B>(_: Same<A, B>) => {}

const data = new Float32Array(3 * 8 * 8)

test('on the host have data of their dtype', async () => {
  const x = Tensor.from(data, [1, 3, 8, 8])
  same<typeof x, Tensor<'float32'>>(true)
  same<typeof x.data, Float32Array>(true)
  same<typeof x.device, 'cpu'>(true)
  const pixels = Tensor.from(new Uint8Array(3), [3])
  same<typeof pixels.data, Uint8Array>(true)
  const half = Tensor.from(new Uint16Array(3), [3], { dtype: 'float16' })
  same<typeof half, Tensor<'float16', 'cpu'>>(true)
  const wide = half.toFloat32()
  same<typeof wide, Float32Tensor>(true)
  const any: Tensor = pixels
  same<typeof any.data, Float32Array | Uint16Array | Uint8Array | Int32Array>(true)
  // @ts-expect-error A Uint16Array needs its dtype.
  expect(() => Tensor.from(new Uint16Array(3), [3]) satisfies Tensor<'float16'>).toThrow(/dtype/)
  // @ts-expect-error The host has no device pointer.
  expect(() => x.devicePointer).toThrow(/use data/)
  // @ts-expect-error Tensors are made by `from`.
  expect(() => new Tensor()).toThrow()
  expect(Tensor.name).toBe('Tensor')
  expect(x).toBeInstanceOf(Tensor)
})

test('of results are as the call asks', async () => {
  await using model = await ResNet.create(
    { block: 'basic', depths: [1], widths: [8], stem: 'cifar', numClasses: 5 },
    { device: 'cpu' },
  )
  const x = Tensor.from(data, [1, 3, 8, 8])
  const logits = await model.forward(x)
  same<typeof logits, Float32Tensor>(true)
  const hosted = await model.embed(x, { output: 'host' })
  same<typeof hosted.data, Float32Array>(true)
  const left = await model.embed(x, { output: 'device' })
  same<typeof left, AnyTensor<'float32'>>(true)
  // @ts-expect-error It may be on a device.
  expect(left.data).toEqual(hosted.data)
  // A model on the CPU leaves it in the host's memory.
  if (left.device === 'cpu') {
    same<typeof left, Float32Tensor>(true)
    expect(left.data).toEqual(hosted.data)
  } else same<typeof left, DeviceTensor<'float32'>>(true)
  expect((await left.to('cpu')).data).toEqual(hosted.data)
  const { layer1 } = await model.features(x, ['layer1'], { output: 'device' })
  // @ts-expect-error It may be on a device.
  expect(layer1.data).toHaveLength(8 * 8 * 8)
})

/** Never called: there is no device. */
async function onDevice(x: Tensor<'uint8'>, model: ResNet): Promise<unknown[]> {
  const there = await x.to('cuda')
  same<typeof there, Tensor<'uint8', 'cuda'>>(true)
  same<typeof there.devicePointer, bigint>(true)
  const back = await there.to('cpu', { signal: AbortSignal.timeout(1) })
  same<typeof back, Tensor<'uint8'>>(true)
  const taken: AnyTensor[] = [there, x, await there.to('cuda:1')]
  return [
    ...taken,
    await model.forward(there),
    // @ts-expect-error A device's tensor has no data.
    there.data,
    // @ts-expect-error Nor can it be converted.
    there.toFloat32(),
    // @ts-expect-error What needs the host's memory does not take it.
    there satisfies Tensor,
  ]
}
void onDevice
