// Random calls of a model that fail, leave and keep others waiting, and what must hold whatever happens.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import { mulberry32 } from '../lib/bench/statistics.js'
import { type CreateOptions, models, ResNet } from '../lib/index.js'
import { packageRoot } from '../lib/root.js'
import { eventually } from './support/eventually.js'

const digits = Array.from({ length: 10 }, (_, digit) =>
  readFileSync(path.join(packageRoot, 'models', 'samples', `${digit}.png`)),
)
const bad = [Buffer.from('no image'), Buffer.alloc(0), digits[0]?.subarray(0, 90) as Buffer]

test.each<[number, CreateOptions]>([
  [1, {}],
  [2, { lanes: 3, maxBatch: 3, imageThreads: 6 }],
  [3, { maxBatch: 1, imageThreads: 1 }],
])('every call ends, well or badly, and nothing is left: seed %d', async (seed, options) => {
  const model = await ResNet.load(models.digits, options)
  const random = mulberry32(seed)
  const below = (limit: number) => Math.floor(random() * limit)
  const wrong: string[] = []

  const call = async (priority: number) => {
    const abort = new AbortController()
    const { signal } = abort
    const leaves = below(3) === 0
    if (leaves) setTimeout(() => abort.abort('gone'), below(150))
    const wanted = Array.from({ length: below(2) === 0 ? 1 : 1 + below(24) }, () => below(10))
    // Some are outside the order and the gate.
    const images = wanted.map((digit) => (below(3) === 0 ? sharp(digits[digit]) : (digits[digit] as Buffer)))
    const isBad = below(4) === 0
    if (isBad) images[below(images.length)] = bad[below(bad.length)] as Buffer
    // It never gets its bytes.
    if (leaves && below(4) === 0) images[below(images.length)] = sharp()
    try {
      const lists = await model.classify(images, { signal, priority, topK: 1 })
      const found = lists.map(([best]) => best?.index)
      if (isBad || found.join() !== wanted.join()) wrong.push(`${found} for ${wanted}, ${isBad}`)
    } catch (error) {
      const { code } = error as { code?: string }
      if (error !== 'gone' && !(isBad && code === 'ERR_RESNET_IMAGE')) wrong.push(String(error))
    }
  }
  const caller = async (_: unknown, i: number) => {
    for (let n = 0; n < 12; ++n) await call(i % 3)
  }
  await Promise.all(Array.from({ length: 60 }, caller))
  expect(wrong).toEqual([])

  // Bodies of calls that are over may still be giving back what they had.
  const { engine } = model as unknown as { engine: { preparing: number; gate: { inside: number } } }
  const left = () => ({
    preparing: engine.preparing,
    inside: engine.gate.inside,
    queueDepth: model.stats().queueDepth,
    busyLanes: model.stats().busyLanes,
  })
  const nothing = { preparing: 0, inside: 0, queueDepth: 0, busyLanes: 0 }
  expect(await eventually(left, nothing, 10_000)).toEqual(nothing)
  await model.dispose()
})
