import { ResNetError } from '../lib/errors.js'
import {
  boolean,
  defaulting,
  integer,
  list,
  oneOf,
  optional,
  pair,
  readOptions,
  signal,
} from '../lib/options.js'

const table = {
  threads: defaulting(integer(0, 1024), 0),
  device: defaulting(oneOf('auto', 'cpu'), 'auto' as const),
  stride: optional(pair(1, 8)),
  mean: optional(list(integer(0, 9), 1, 3)),
  ordered: optional(boolean),
  signal: optional(signal),
}
const read = (options: unknown) => readOptions('call', table, options)

describe('readOptions', () => {
  test('fills in defaults', () => {
    expect(read(undefined)).toEqual({ threads: 0, device: 'auto' })
    expect(read({ threads: 2, stride: [1, 2] })).toMatchObject({ threads: 2, stride: [1, 2], device: 'auto' })
  })

  test('undefined is absent, null is not', () => {
    expect(read({ threads: undefined }).threads).toBe(0)
    expect(() => read({ threads: null })).toThrow(/received null/)
  })

  test.each([
    [{ threads: -1 }, 'call: expected threads to be an integer from 0 to 1024, received -1'],
    [{ threads: '2' }, "call: expected threads to be an integer from 0 to 1024, received '2'"],
    [{ threads: Number.NaN }, 'call: expected threads to be an integer from 0 to 1024, received NaN'],
    [{ device: 'gpu' }, "call: expected device to be 'auto' or 'cpu', received 'gpu'"],
    [
      { stride: [1, 2, 3] },
      'call: expected stride to be an integer from 1 to 8, or [height, width] of those, received [1, 2, 3]',
    ],
    [
      { mean: [1, 99] },
      'call: expected mean to be a list of 1 to 3 entries, each an integer from 0 to 9, received [1, 99]',
    ],
    [{ ordered: 1 }, 'call: expected ordered to be true or false, received 1'],
    [{ signal: {} }, 'call: expected signal to be an AbortSignal, received an object (Object)'],
    [{ thread: 2 }, "call: there is no option 'thread'; did you mean 'threads'?"],
    [
      { zzzzzzzzzz: 2 },
      "call: there is no option 'zzzzzzzzzz'; it takes threads, device, stride, mean, ordered, signal",
    ],
    [7, 'call: expected options to be an object, received 7'],
    [[], 'call: expected options to be an object, received []'],
  ])('%j', (options, message) => {
    expect(() => read(options)).toThrow(message)
    expect(() => read(options)).toThrow(ResNetError)
  })

  test('names of Object.prototype are no options', () => {
    expect(() => read({ constructor: 1 })).toThrow(/there is no option 'constructor'/)
  })
})
