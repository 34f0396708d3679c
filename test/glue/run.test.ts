// Programs and lanes through the raw addon: values, pieces, cancelling, disposing in the middle.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Binding } from '../../binding.js'
import { loadBinding } from '../../lib/native/load.js'

const plans = require('./plans.cjs')
const {
  compile,
  convPlan,
  formulaWeights,
  heavy,
  heavyElements,
  safetensors,
  scaleTwice,
  scaleTwiceTensors,
} = plans

const binding: Binding = loadBinding()

const scaled = (x: number[]) => [...x.map((v) => Math.max(0, 2 * v + 0.5)), ...x.map((v) => Math.max(0, -v))]
const images = [
  [1, -1, 2, -3],
  [0, 0.25, -8, 100],
  [7, 6, 5, 4],
]

async function scaleLane(options = {}) {
  const weights = binding.weightsFromTensors({ tensors: scaleTwiceTensors })
  const program = await compile(binding, scaleTwice, weights, { maxBatch: 3, ...options })
  return program.createLane()
}
async function heavyLane() {
  const program = await compile(binding, heavy, formulaWeights(binding, heavy))
  return program.createLane()
}
const heavyCall = () => ({
  batch: 1,
  inputs: [[new Float32Array(heavyElements).fill(1)]],
  outputs: [[new Float32Array(heavyElements).fill(NaN)]],
})

const tiers = binding
  .cpuInfo()
  .tiers.filter(({ supported }) => supported)
  .map(({ isa }) => isa)

test.each(tiers)('gives the values that can be worked out by hand [%s]', async (isa) => {
  const lane = await scaleLane({ isa })
  for (const image of images) {
    const output = new Float32Array(8).fill(NaN)
    await lane.run({ batch: 1, inputs: [[new Float32Array(image)]], outputs: [[output]] })
    expect([...output]).toEqual(scaled(image))
  }
  await lane.dispose()
})

test('takes a batch in any pieces, also views into larger and shared buffers', async () => {
  const lane = await scaleLane()
  const pool = new Float32Array(new SharedArrayBuffer(4 * 20)).fill(NaN)
  pool.set([...(images[0] ?? []), ...(images[1] ?? [])], 3)
  const last = new Float32Array(images[2] ?? [])
  const outputs = new Float32Array(40).fill(NaN)
  await lane.run({
    batch: 3,
    inputs: [[pool.subarray(3, 11), last]],
    outputs: [[outputs.subarray(5, 13), outputs.subarray(20, 36)]],
  })
  expect([...outputs.subarray(5, 13)]).toEqual(scaled(images[0] ?? []))
  expect([...outputs.subarray(20, 28)]).toEqual(scaled(images[1] ?? []))
  expect([...outputs.subarray(28, 36)]).toEqual(scaled(images[2] ?? []))
  const around = [...outputs.subarray(0, 5), ...outputs.subarray(13, 20), ...outputs.subarray(36)]
  expect(around.every(Number.isNaN)).toBe(true)
  await lane.dispose()
})

test('normalises bytes', async () => {
  const plan = convPlan({ size: 2, channels: 1, kernel: 1, dtype: 'uint8' })
  plan.steps[0].mean = [0.5]
  plan.steps[0].std = [0.25]
  const tensors = [
    { name: 'w0', shape: [1, 1, 1, 1], dtype: 'float32' as const, data: new Float32Array([1]) },
  ]
  const lane = await (await compile(binding, plan, binding.weightsFromTensors({ tensors }))).createLane()
  const output = new Float32Array(4).fill(NaN)
  await lane.run({ batch: 1, inputs: [[Buffer.from([0, 255, 128, 200])]], outputs: [[output]] })
  const expected = [0, 255, 128, 200].map((byte) => Math.max(0, (byte / 255 - 0.5) / 0.25))
  expected.forEach((value, i) => { expect(output[i]).toBeCloseTo(value, 5) }) // biome-ignore format: one line
  await lane.dispose()
})

test('reads weights from a checkpoint by name, from a file and from bytes', async () => {
  const tensor = { name: 'fc', shape: [2, 1, 1, 1], data: new Float32Array([2, -1]) }
  const bytes = safetensors([tensor], { format: 'pt', labels: 'a,b' })
  const folder = mkdtempSync(path.join(tmpdir(), 'resnet-glue-'))
  const file = path.join(folder, 'two words.safetensors')
  writeFileSync(file, bytes)
  for (const source of [{ path: file }, { bytes }]) {
    const { checkpoint, tensors: entries, metadata } = await binding.openCheckpoint(source)
    expect(entries).toEqual([{ name: 'fc', dtype: 'F32', shape: [2, 1, 1, 1] }])
    expect(metadata).toEqual({ format: 'pt', labels: 'a,b' })
    const weights = binding.weightsFromCheckpoint({ checkpoint, names: { w: 'fc' } })
    checkpoint.dispose() // weights keep what they need
    const plan = structuredClone(scaleTwice)
    delete plan.steps[1].bias
    plan.parameters.pop()
    const lane = await (await compile(binding, plan, weights)).createLane()
    const output = new Float32Array(8).fill(NaN)
    await lane.run({ batch: 1, inputs: [[new Float32Array([1, -1, 2, -3])]], outputs: [[output]] })
    expect([...output]).toEqual([2, 0, 4, 0, 0, 1, 0, 3])
    await lane.dispose()
  }
  rmSync(folder, { recursive: true })
})

test('metadata keys cannot touch the prototype', async () => {
  const text = '{"__metadata__":{"__proto__":"x","toString":"y"}}'
  const header = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  const { metadata } = await binding.openCheckpoint({
    bytes: new Uint8Array(Buffer.concat([length, header])),
  })
  expect(Object.keys(metadata).sort()).toEqual(['__proto__', 'toString'])
  expect(Object.getOwnPropertyDescriptor(metadata, '__proto__')?.value).toBe('x')
})

test('runs of one lane and of several come out alike', async () => {
  const lanes = await Promise.all([heavyLane(), heavyLane()])
  const outputs = Array.from({ length: 6 }, () => new Float32Array(heavyElements).fill(NaN))
  await Promise.all(outputs.map((output, i) => lanes[i % 2]?.run({ ...heavyCall(), outputs: [[output]] })))
  const [first, ...others] = outputs.map((output) => Buffer.from(output.buffer))
  expect(first?.some((byte) => byte !== 0)).toBe(true)
  for (const other of others) expect(first?.equals(other)).toBe(true)
  await Promise.all(lanes.map((lane) => lane.dispose()))
})

test('a run is cancelled in the middle, its neighbours are not', async () => {
  const lane = await heavyLane()
  const control = binding.createControl()
  const started = performance.now()
  await lane.run(heavyCall())
  const alone = performance.now() - started
  const before = lane.run(heavyCall())
  const cancelled = [lane.run({ ...heavyCall(), control }), lane.run({ ...heavyCall(), control })]
  const after = lane.run(heavyCall())
  const settled = Promise.allSettled(cancelled)
  await before
  const cancelledAt = performance.now()
  control.cancel()
  for (const result of await settled) {
    expect(result).toMatchObject({ status: 'rejected', reason: { code: 'ABORTED' } })
  }
  expect(performance.now() - cancelledAt).toBeLessThan(alone + 200)
  await after
  await expect(lane.run({ ...heavyCall(), control })).rejects.toMatchObject({ code: 'ABORTED' })
  await lane.dispose()
})

test('compiling is cancelled', async () => {
  const control = binding.createControl()
  const weights = formulaWeights(binding, heavy)
  const compiling = compile(binding, heavy, weights, { control })
  control.cancel()
  await expect(compiling).rejects.toMatchObject({ code: 'ABORTED' })
  await expect(binding.openCheckpoint({ bytes: safetensors([]), control })).rejects.toMatchObject({
    code: 'ABORTED',
  })
})

test('dispose waits for what was submitted, then refuses', async () => {
  const program = await compile(binding, heavy, formulaWeights(binding, heavy))
  const lane = await program.createLane()
  const order: string[] = []
  const runs = [1, 2, 3].map((i) => lane.run(heavyCall()).then(() => order.push(`run ${i}`)))
  program.dispose()
  const disposed = lane.dispose().then(() => order.push('dispose'))
  await expect(lane.run(heavyCall())).rejects.toMatchObject({ code: 'ERR_RESNET_DISPOSED' })
  await lane.dispose() // idempotent
  await Promise.all([...runs, disposed])
  expect(order).toEqual(['run 1', 'run 2', 'run 3', 'dispose'])
  program.dispose()
  expect(() => program.explain()).toThrow(/this Program was disposed/)
  await expect(program.createLane()).rejects.toMatchObject({ code: 'ERR_RESNET_DISPOSED' })
  expect(program.info.maxBatch).toBe(1)
})

test('an error inside the plan names its step', async () => {
  const plan = structuredClone(scaleTwice)
  plan.steps[1].groups = 3
  await expect(compile(binding, plan, formulaWeights(binding, plan))).rejects.toMatchObject({
    code: 'ERR_RESNET_INVALID_ARGUMENT',
    step: 'scale',
  })
})

test('the thread is free while a network runs', async () => {
  const lane = await heavyLane()
  const running = Promise.all([lane.run(heavyCall()), lane.run(heavyCall())])
  let ticks = 0
  const timer = setInterval(() => ticks++, 1)
  await running
  clearInterval(timer)
  expect(ticks).toBeGreaterThan(2)
  await lane.dispose()
})
