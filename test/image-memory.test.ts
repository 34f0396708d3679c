// Decoded images lie in memory that is used again, and a batch reads it where it is: nobody may find another's image there.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import type { Lane } from '../binding.js'
import type { Engine } from '../lib/engine.js'
import { preprocess } from '../lib/image/decode.js'
import { ImageMemory } from '../lib/image/memory.js'
import { models, ResNet } from '../lib/index.js'

const fixture = (name: string) => readFileSync(path.join(__dirname, 'fixtures', 'images', name))
const photographs = ['flower.jpg', 'china.jpg', 'rgba.png'].map(fixture)
const memoryOf = (model: ResNet) => (model as unknown as { engine: Engine }).engine.imageMemory
const unusedIn = (memory: ImageMemory) => (memory as unknown as { unused: Float32Array[] }).unused

async function firstLane(model: ResNet): Promise<Lane> {
  type Made = { made: { lanes: { all: Promise<Lane>[] } } }
  type Families = Map<string, Map<string, Made>>
  const { programs } = (model as unknown as { engine: Engine }).engine as unknown as {
    programs: { families: Families }
  }
  const [buckets] = programs.families.values() as unknown as [Map<string, Made>]
  const [size] = [...buckets.keys()].filter((key) => key.startsWith('2 images'))
  return (buckets.get(size as string) as Made).made.lanes.all[0] as Promise<Lane>
}

describe('the memory of decoded images', () => {
  test('is what was given back, of the same size, and no more than it keeps', () => {
    const memory = new ImageMemory(2)
    const [a, b, c] = [0, 0, 0].map(() => memory.take('float32', 12)) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ]
    expect(new Set([a, b, c]).size).toBe(3)
    for (const array of [a, b, c]) memory.give(array)
    expect([memory.take('float32', 12), memory.take('float32', 12)]).toEqual([b, a])
    expect(unusedIn(memory)).toEqual([])
    memory.give(a)
    expect(memory.take('float32', 8)).toHaveLength(8)
    memory.give(new Float32Array(8))
    // Of another size than before: what there was is forgotten.
    expect(unusedIn(memory).map(({ length }) => length)).toEqual([8])
    expect(memory.take('uint8', 3)).toEqual(new Uint8Array(3))
  })

  test('is all written: what was in it before does not show', async () => {
    const preset = {
      resize: 20,
      crop: 30,
      interpolation: 'bilinear',
      mean: [0.5, 0.5, 0.5],
      std: [0.2, 0.2, 0.2],
      source: 'test',
    } as const
    const memory = new ImageMemory(1)
    for (const form of ['float32', 'uint8'] as const) {
      for (const image of photographs) {
        const { data } = await preprocess(image, preset, { form })
        const dirty = memory.take(
          form,
          data instanceof Uint8Array ? data.length : (data as Float32Array).length,
        )
        dirty.fill(form === 'uint8' ? 77 : Number.NaN)
        memory.give(dirty)
        const again = await preprocess(image, preset, { form, memory })
        expect(again.data).toBe(dirty)
        expect(again.data).toEqual(data)
      }
    }
  })

  test('is used again by a model', async () => {
    await using model = await load()
    const two = photographs.slice(0, 2)
    await model.embed(two)
    const unused = [...unusedIn(memoryOf(model))]
    expect(unused).toHaveLength(2)
    const seen: unknown[] = []
    const lane = await firstLane(model)
    const run = lane.run.bind(lane)
    lane.run = (call) => {
      seen.push(...call.inputs.flat())
      return run(call)
    }
    await model.embed(two)
    expect(new Set(seen)).toEqual(new Set(unused))
    for (const array of seen) expect(unused.includes(array as Float32Array)).toBe(true)
    expect(seen).toHaveLength(2)
  })

  test('is not while a batch may read it, though the call of its image is over', async () => {
    await using model = await load()
    const [flower, china] = photographs as [Buffer, Buffer]
    const [, expected] = await model.classify([flower, china])
    const lane = await firstLane(model)
    const run = lane.run.bind(lane)
    const stop = new AbortController()
    let during: (() => Promise<void>) | undefined = async () => {
      stop.abort(new Error('enough'))
      await expect(leaves).rejects.toBe(stop.signal.reason)
      // Others take what memory there is, another image first, while the batch is held up here.
      later.push(...[china, flower].map((image) => preprocessed(model, image)))
      await Promise.all(later)
    }
    const later: Promise<unknown>[] = []
    lane.run = async (call) => {
      const once = during
      during = undefined
      const views = call.inputs.flat() as Float32Array[]
      const before = views.map((view) => view.slice())
      await once?.()
      expect(views).toEqual(before)
      if (once !== undefined) expect(views).toHaveLength(2)
      return run(call)
    }
    const leaves = model.classify(flower, { signal: stop.signal })
    expect(await model.classify(china)).toEqual(expected)
    expect(later).toHaveLength(2)
  })
})

/** Batches of two, which wait for the second image. */
function load(): Promise<ResNet> {
  return ResNet.load(models.digits, { device: 'cpu', threads: 1, maxBatch: 2, maxDelayMs: 5000 })
}

/** As a call of the model would, with the same memory; it is not given back. */
function preprocessed(model: ResNet, image: Buffer): Promise<unknown> {
  return preprocess(image, model.preprocessing, { form: 'float32', memory: memoryOf(model) })
}
