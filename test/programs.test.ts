import { onAbort, type Signal } from '../lib/abort.js'
import { type Compiled, ProgramCache, type ProgramKey } from '../lib/programs.js'

/** Programs that only remember whether they were disposed of, lane first. */
function factory() {
  const events: string[] = []
  const compile = (name: string) => async () => {
    events.push(`compile ${name}`)
    const lanes = { dispose: async () => void events.push(`lane ${name}`) }
    const program = { dispose: () => void events.push(`program ${name}`) }
    return { lanes, program, outputShapes: [] } as unknown as Compiled
  }
  return { events, compile }
}
const key = (family: string, bucket = 1): ProgramKey => ({ family, bucket, threads: 1 })
const nothing = async () => {}
const settle = () => new Promise<void>((resolve) => setImmediate(resolve))

test('a program is compiled once per key', async () => {
  const { events, compile } = factory()
  const cache = new ProgramCache(2)
  await cache.use(key('a'), compile('a'), nothing)
  await Promise.all([cache.use(key('b'), compile('b'), nothing), cache.use(key('b'), compile('b'), nothing)])
  await cache.use(key('a'), compile('a'), nothing)
  expect(events).toEqual(['compile a', 'compile b'])
})

test('the least recently used goes, lane before program', async () => {
  const { events, compile } = factory()
  const cache = new ProgramCache(2)
  for (const name of ['a', 'b', 'a', 'c']) await cache.use(key(name), compile(name), nothing)
  await settle()
  expect(events).toEqual(['compile a', 'compile b', 'compile c', 'lane b', 'program b'])
  expect(cache.size).toBe(2)
})

test('the batch buckets of a family count as one', async () => {
  const { events, compile } = factory()
  const cache = new ProgramCache(2)
  for (const bucket of [1, 2, 4]) await cache.use(key('a', bucket), compile(`a${bucket}`), nothing)
  await cache.use(key('b'), compile('b'), nothing)
  expect(cache.size).toBe(4)
  await cache.use(key('c'), compile('c'), nothing)
  await settle()
  expect(events.filter((event) => event.startsWith('program'))).toEqual([
    'program a1',
    'program a2',
    'program a4',
  ])
})

test('a shared compilation is cancelled when nobody waits for it any more, and made anew', async () => {
  const { events, compile } = factory()
  const cache = new ProgramCache(2)
  const cancelled: unknown[] = []
  const slow = (signal: Signal) =>
    new Promise<Compiled>((_, reject) => {
      onAbort(signal, () => {
        cancelled.push(signal.reason)
        reject(signal.reason)
      })
    })
  const [first, second] = [new AbortController(), new AbortController()]
  const uses = [first, second].map(({ signal }) => cache.use(key('a'), slow, nothing, signal))
  first.abort('first')
  await settle()
  expect(cancelled).toEqual([])
  second.abort('second')
  const third = cache.use(key('a'), compile('a'), nothing)
  expect(await Promise.allSettled(uses)).toMatchObject([{ reason: 'second' }, { reason: 'second' }])
  await third
  expect(cancelled).toEqual(['second'])
  expect(events).toEqual(['compile a'])
})

test('one in use is disposed of by its last user', async () => {
  const { events, compile } = factory()
  const cache = new ProgramCache(1)
  let finish = () => {}
  const running = cache.use(key('a'), compile('a'), () => new Promise<void>((resolve) => (finish = resolve)))
  await cache.use(key('b'), compile('b'), nothing)
  await settle()
  expect(events).not.toContain('lane a')
  finish()
  await running
  await settle()
  expect(events).toContain('program a')
})

test('a failed compilation is tried again', async () => {
  const { events, compile } = factory()
  const cache = new ProgramCache(2)
  const failing = () => Promise.reject(new Error('no memory'))
  await expect(cache.use(key('a'), failing, nothing)).rejects.toThrow('no memory')
  await cache.use(key('a'), compile('a'), nothing)
  expect(events).toEqual(['compile a'])
})

test('dispose waits for every program', async () => {
  const { events, compile } = factory()
  const cache = new ProgramCache(4)
  for (const name of ['a', 'b']) await cache.use(key(name), compile(name), nothing)
  await cache.dispose()
  expect(events.filter((event) => event.startsWith('program'))).toEqual(['program a', 'program b'])
  expect(cache.size).toBe(0)
})
