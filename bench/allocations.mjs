// How many bytes of JavaScript's heap an image takes on its way from JPEG bytes to a label, and who allocates them: what the
// garbage collector has to go through, whatever the machine is busy with.
//   node bench/allocations.mjs [--images 2000] [--way stream|callers] [--top 15]
// Memory outside the heap (pixels, files) does not count. Sampled, and what was collected meanwhile counts too.
import { readFileSync } from 'node:fs'
import { Session } from 'node:inspector/promises'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..')
const { values } = parseArgs({
  options: {
    images: { type: 'string', default: '2000' },
    warmup: { type: 'string', default: '500' },
    way: { type: 'string', default: 'stream' },
    top: { type: 'string', default: '15' },
    package: { type: 'string', default: root },
  },
})
const { models, ResNet } = (await import(pathToFileURL(path.join(values.package, 'dist', 'index.js'))))
  .default

const photographs = ['china.jpg', 'flower.jpg'].map((name) =>
  readFileSync(path.join(root, 'test', 'fixtures', 'images', name)),
)
const options = { topK: 5 }
const callers = 64

const model = await ResNet.load(models.digits, { device: 'cpu', threads: 2 })

function* some(count) {
  for (let i = 0; i < count; ++i) yield photographs[i % photographs.length]
}

const ways = {
  async stream(count) {
    for await (const { error } of model.classifyStream(some(count), options)) if (error) throw error
  },
  async callers(count) {
    const source = some(count)
    const caller = async () => {
      for (const image of source) await model.classify(image, options)
    }
    await Promise.all(Array.from({ length: callers }, caller))
  },
}
const run = ways[values.way]

await run(Number(values.warmup))
const session = new Session()
session.connect()
await session.post('HeapProfiler.startSampling', {
  samplingInterval: 512,
  includeObjectsCollectedByMajorGC: true,
  includeObjectsCollectedByMinorGC: true,
})
const count = Number(values.images)
await run(count)
const { profile } = await session.post('HeapProfiler.stopSampling')
await model.dispose()

const bytes = new Map()
let total = 0
function visit({ callFrame, selfSize, children }) {
  const { functionName, url, lineNumber } = callFrame
  const where = `${functionName || '(anonymous)'} ${path.basename(url)}:${lineNumber + 1}`
  bytes.set(where, (bytes.get(where) ?? 0) + selfSize)
  total += selfSize
  for (const child of children) visit(child)
}
visit(profile.head)
console.log(`${Math.round(total / count)} bytes an image (${values.way}, ${count} images)`)
const largest = [...bytes].sort(([, a], [, b]) => b - a).slice(0, Number(values.top))
for (const [where, size] of largest) console.log(`${String(Math.round(size / count)).padStart(8)}  ${where}`)
