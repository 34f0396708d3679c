import { type Compiled, ProgramCache } from '../lib/programs.js'

/** Programs that only remember whether they were disposed of, lane first. */
function factory() {
  const events: string[] = []
  const compile = (name: string) => async () => {
    events.push(`compile ${name}`)
    const lane = { dispose: async () => void events.push(`lane ${name}`) }
    const program = { dispose: () => void events.push(`program ${name}`) }
    return { lane, program, outputShapes: [] } as unknown as Compiled
  }
  return { events, compile }
}
const nothing = async () => {}
const settle = () => new Promise<void>((resolve) => setImmediate(resolve))

test('a program is compiled once per key', async () => {
  const { events, compile } = factory()
  const cache = new ProgramCache(2)
  await cache.use('a', compile('a'), nothing)
  await Promise.all([cache.use('b', compile('b'), nothing), cache.use('b', compile('b'), nothing)])
  await cache.use('a', compile('a'), nothing)
  expect(events).toEqual(['compile a', 'compile b'])
})

test('the least recently used goes, lane before program', async () => {
  const { events, compile } = factory()
  const cache = new ProgramCache(2)
  for (const key of ['a', 'b', 'a', 'c']) await cache.use(key, compile(key), nothing)
  await settle()
  expect(events).toEqual(['compile a', 'compile b', 'compile c', 'lane b', 'program b'])
  expect(cache.size).toBe(2)
})

test('one in use is disposed of by its last user', async () => {
  const { events, compile } = factory()
  const cache = new ProgramCache(1)
  let finish = () => {}
  const running = cache.use('a', compile('a'), () => new Promise<void>((resolve) => (finish = resolve)))
  await cache.use('b', compile('b'), nothing)
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
  await expect(cache.use('a', failing, nothing)).rejects.toThrow('no memory')
  await cache.use('a', compile('a'), nothing)
  expect(events).toEqual(['compile a'])
})

test('dispose waits for every program', async () => {
  const { events, compile } = factory()
  const cache = new ProgramCache(4)
  for (const key of ['a', 'b']) await cache.use(key, compile(key), nothing)
  await cache.dispose()
  expect(events.filter((event) => event.startsWith('program'))).toEqual(['program a', 'program b'])
  expect(cache.size).toBe(0)
})
