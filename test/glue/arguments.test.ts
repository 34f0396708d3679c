// Wrong use of every door: a typed error that names the field and what it got, never a crash.
import type { Binding, Lane, Program, Weights } from '../../binding.js'
import { loadBinding } from '../../lib/native/load.js'

const { compile, scaleTwice, scaleTwiceTensors, safetensors } = require('./plans.cjs')

const binding: Binding = loadBinding()
const invalid = 'ERR_RESNET_INVALID_ARGUMENT'

let weights: Weights
let program: Program
let lane: Lane
beforeAll(async () => {
  weights = binding.weightsFromTensors({ tensors: scaleTwiceTensors })
  program = await compile(binding, scaleTwice, weights, { maxBatch: 3 })
  lane = await program.createLane()
})
afterAll(() => lane.dispose())

/** Calls as JavaScript may make them. */
// biome-ignore lint/suspicious/noExplicitAny: what types would refuse is what is tested here
type Any = any

const notIntegers: Any[] = [
  undefined,
  null,
  NaN,
  Infinity,
  -1,
  1.5,
  2 ** 53,
  '1',
  true,
  {},
  [],
  1n,
  Symbol('s'),
  () => 1,
]

function detached(view: Float32Array | Uint8Array) {
  structuredClone(view.buffer, { transfer: [view.buffer as ArrayBuffer] })
  return view
}
const resizable = (bytes: number) =>
  new Float32Array(new (ArrayBuffer as Any)(bytes, { maxByteLength: 2 * bytes }))

const throwing = {
  get batch() {
    throw new Error('the getter of batch')
  },
  get seed() {
    throw new Error('the getter of seed')
  },
}

async function outcome(call: () => unknown) {
  try {
    await call()
    return { code: 'none', message: 'it was accepted' }
  } catch (error) {
    return error as Error & { code: string }
  }
}
async function expectRefused(call: () => unknown, field: RegExp | string, code = invalid) {
  const error = await outcome(call)
  expect(error).toMatchObject({ code })
  if (typeof field === 'string') expect(error.message).toContain(field)
  else expect(error.message).toMatch(field)
}

describe('the call object', () => {
  test.each([
    'openCheckpoint',
    'compile',
    'weightsFromTensors',
    'weightsFromFormula',
    'weightsFromCheckpoint',
  ])('%s takes one object', async (name) => {
    const call = (binding as Any)[name]
    for (const value of [undefined, null, 1, 'x', () => 1])
      await expectRefused(() => call(value), `'${name}' takes one object`)
    await expectRefused(() => call(), 'got undefined')
  })
  test('promise functions reject and do not throw', async () => {
    for (const call of [
      () => binding.compile(1 as Any),
      () => binding.openCheckpoint(1 as Any),
      () => lane.run(1 as Any),
    ]) {
      await expect(call()).rejects.toMatchObject({ code: invalid })
    }
  })
  test('a getter that throws is told as such', async () => {
    await expectRefused(() => lane.run(throwing as Any), "'run.batch' could not be read: the getter of batch")
    await expectRefused(() => binding.weightsFromFormula(throwing as Any), 'the getter of seed')
    const hostile = new Proxy({}, { get: () => { throw 5 } }) // biome-ignore format: one line
    await expectRefused(() => binding.compile(hostile as Any), 'its getter threw')
  })
})

describe('compile', () => {
  const call = (change: object) => () => compile(binding, scaleTwice, weights, change)
  test.each(['maxBatch', 'threads'])('%s', async (field) => {
    for (const value of notIntegers)
      await expectRefused(call({ [field]: value }), `'compile.${field}' must be an integer`)
  })
  test('maxBatch 0', () => expectRefused(call({ maxBatch: 0 }), 'must be an integer from 1 to'))
  test('plan', async () => {
    for (const plan of [undefined, 1, {}])
      await expectRefused(call({ plan }), "'compile.plan' must be a string")
    for (const plan of ['', '{', 'null', '[]', '{}', '"x"', '\u0000', '['.repeat(100_000)])
      await expectRefused(call({ plan }), '')
  })
  test('weights', async () => {
    const foreign = [undefined, null, {}, binding.createControl(), program, Object.create(weights)]
    for (const value of foreign)
      await expectRefused(call({ weights: value }), "'compile.weights' must be a Weights")
  })
  test('float32Precision', () => expectRefused(call({ float32Precision: 'tf33' }), "got 'tf33'"))
  test('isa', async () => {
    await expectRefused(call({ isa: 3 }), "'compile.isa' must be a string, got 3")
    await expectRefused(call({ isa: 'sse9' }), 'sse9')
  })
  test('control', () => expectRefused(call({ control: {} }), "'compile.control' must be a Control"))
  test('a parameter of another shape', async () => {
    const other = binding.weightsFromTensors({
      tensors: [{ ...scaleTwiceTensors[0], shape: [1, 2, 1, 1] }, scaleTwiceTensors[1]],
    })
    const message = "'w' [2, 1, 1, 1] has shape [1, 2, 1, 1]"
    await expectRefused(() => compile(binding, scaleTwice, other), message, 'ERR_RESNET_MISMATCH')
  })
  test('parameters that are not there', async () => {
    const other = binding.weightsFromTensors({ tensors: [] })
    const message = "'w' [2, 1, 1, 1] is missing; 'b' [2] is missing"
    await expectRefused(() => compile(binding, scaleTwice, other), message, 'ERR_RESNET_MISMATCH')
  })
  test('disposed weights', async () => {
    const gone = binding.weightsFromTensors({ tensors: scaleTwiceTensors })
    gone.dispose()
    gone.dispose()
    await expectRefused(() => compile(binding, scaleTwice, gone), 'disposed', 'ERR_RESNET_DISPOSED')
  })
})

describe('run', () => {
  const x = () => new Float32Array(4)
  const y = () => new Float32Array(8)
  const call = (change: object) => () =>
    lane.run({ batch: 1, inputs: [[x()]], outputs: [[y()]], ...change } as Any)

  test('the call that the others are changes of is accepted', () => call({})())
  test('batch', async () => {
    for (const batch of [...notIntegers, 0, 4])
      await expectRefused(call({ batch }), "'run.batch' must be an integer from 1 to 3")
  })
  const wrong: [string, object, RegExp][] = [
    ['no inputs', { inputs: undefined }, /'run.inputs' must be an array/],
    ['an array-like', { inputs: { 0: [x()], length: 1 } }, /'run.inputs' must be an array/],
    ['too few inputs', { inputs: [] }, /one list of pieces for each of the plan's 1, got 0/],
    ['too many inputs', { inputs: [[x()], [x()]] }, /got 2/],
    [
      'a view where a list is due',
      { inputs: [x()] },
      /'run.inputs\[0\]' must be an array of views, got a Float32Array/,
    ],
    ['no pieces', { inputs: [[]] }, /must hold the batch's 1 images, got 0/],
    [
      'another type',
      { inputs: [[new Float64Array(4)]] },
      /'run.inputs\[0\]\[0\]' must be a Float32Array, got a Float64Array/,
    ],
    ['bytes for floats', { inputs: [[new Uint8Array(4)]] }, /must be a Float32Array, got a Uint8Array/],
    ['a DataView', { inputs: [[new DataView(new ArrayBuffer(16))]] }, /must be a Float32Array/],
    ['an ArrayBuffer', { inputs: [[new ArrayBuffer(16)]] }, /got an ArrayBuffer/],
    ['null', { inputs: [[null]] }, /got null/],
    ['a hole', { inputs: [new Array(1)] }, /got undefined/],
    ['a part of an image', { inputs: [[new Float32Array(3)]] }, /whole images, 4 elements each, got 3/],
    ['an empty view', { inputs: [[new Float32Array(0)]] }, /got 0 elements/],
    ['more images than the batch', { inputs: [[new Float32Array(8)]] }, /the batch's 1 images, got 2/],
    ['fewer images than the batch', { batch: 2 }, /the batch's 2 images, got 1/],
    [
      'a short output',
      { outputs: [[new Float32Array(4)]] },
      /'run.outputs\[0\]' must have pieces of whole images/,
    ],
    [
      'integers for an output',
      { outputs: [[new Int32Array(8)]] },
      /must be a Float32Array, got a Int32Array/,
    ],
    ['a detached input', { inputs: [[detached(x())]] }, /must not be detached/],
    ['a detached output', { outputs: [[detached(y())]] }, /must not be detached/],
    ['a resizable buffer', { inputs: [[resizable(16)]] }, /resizable ArrayBuffer/],
    ['a foreign control', { control: { cancel() {} } }, /'run.control' must be a Control/],
  ]
  test.each(wrong)('%s', (_, change, message) => expectRefused(call(change), message))

  test('a getter that detaches a view already looked at', async () => {
    const input = new Float32Array(4)
    const hostile = {
      batch: 1,
      inputs: [[input]],
      get outputs() {
        detached(input)
        return [[new Float32Array(8)]]
      },
    }
    await expectRefused(() => lane.run(hostile), 'got 0 elements')
  })
})

describe('checkpoints and weights', () => {
  const tensor = scaleTwiceTensors[0]
  test('openCheckpoint', async () => {
    const bytes = safetensors([])
    await expectRefused(() => binding.openCheckpoint({}), "either 'path' or 'bytes', got neither")
    await expectRefused(() => binding.openCheckpoint({ path: 'x', bytes }), 'got both')
    await expectRefused(
      () => binding.openCheckpoint({ path: 1 as Any }),
      "'openCheckpoint.path' must be a string, got 1",
    )
    await expectRefused(() => binding.openCheckpoint({ path: '' }), 'path')
    await expectRefused(() => binding.openCheckpoint({ path: 'a\0b' }), 'NUL')
    await expectRefused(
      () => binding.openCheckpoint({ bytes: new Float32Array(8) as Any }),
      'must be a Uint8Array',
    )
    await expectRefused(() => binding.openCheckpoint({ bytes: detached(safetensors([])) as Any }), 'detached')
    await expectRefused(
      () => binding.openCheckpoint({ path: '/nowhere/at/all' }),
      '/nowhere/at/all',
      'ERR_RESNET_IO',
    )
    await expectRefused(() => binding.openCheckpoint({ bytes: new Uint8Array(4) }), '', 'ERR_RESNET_CORRUPT')
  })
  test('weightsFromCheckpoint', async () => {
    const { checkpoint } = await binding.openCheckpoint({ bytes: safetensors([]) })
    const call = (change: object) => () =>
      binding.weightsFromCheckpoint({ checkpoint, names: {}, ...change } as Any)
    for (const names of [undefined, null, 'x', 3, [['a', 'b']]])
      await expectRefused(call({ names }), 'an object of strings')
    await expectRefused(call({ names: { a: 1 } }), "names['a']' must be a string, got 1")
    await expectRefused(call({ checkpoint: weights }), 'must be a Checkpoint')
    checkpoint.dispose()
    checkpoint.dispose()
    await expectRefused(call({}), 'disposed', 'ERR_RESNET_DISPOSED')
  })
  const wrong: [string, object, RegExp][] = [
    ['no name', { name: undefined }, /tensors\[0\].name' must be a string/],
    ['a shape of text', { shape: '2' }, /tensors\[0\].shape' must be an array/],
    ['a negative size', { shape: [-1] }, /sizes from 0 to 2147483647, got -1/],
    ['a size that is no number', { shape: [NaN] }, /got NaN/],
    ['a huge size', { shape: [2 ** 53] }, /got 9007199254740992/],
    ['too many elements', { shape: [65536, 65536] }, /2147483647 elements/],
    ['too many sizes', { shape: new Array(9).fill(1) }, /at most 8 sizes/],
    ['more elements than data', { shape: [3] }, /must hold the 3 elements of its shape, got 2/],
    ['another dtype', { dtype: 'int8' }, /'float32', 'float16' or 'bfloat16', got 'int8'/],
    ['data of another dtype', { dtype: 'float16' }, /must be a Uint16Array, got a Float32Array/],
  ]
  test.each(wrong)('weightsFromTensors with %s', (_, change, message) =>
    expectRefused(() => binding.weightsFromTensors({ tensors: [{ ...tensor, ...change }] } as Any), message),
  )
  test('weightsFromFormula', async () => {
    const call = (change: object) => () =>
      binding.weightsFromFormula({ seed: 1, tensors: [{ name: 'a', shape: [2], lo: 0, hi: 1, ...change }] })
    for (const seed of [-1, NaN, 2 ** 53, '1']) {
      await expectRefused(
        () => binding.weightsFromFormula({ seed: seed as Any, tensors: [] }),
        "'weightsFromFormula.seed'",
      )
    }
    for (const lo of [NaN, Infinity, '0', undefined])
      await expectRefused(call({ lo }), 'must be a finite number')
    await expectRefused(
      () => binding.weightsFromFormula({ seed: 1, tensors: [3 as Any] }),
      'takes one object, got 3',
    )
  })
})
