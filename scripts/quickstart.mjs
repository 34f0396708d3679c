// `npm run quickstart [-- images…]`: from a fresh checkout to classified images. Installs and builds what is missing,
// then runs the embedded model, which knows handwritten digits, on its held-out samples or on the images named.
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { ensureBuilt, fail, root } from './setup.mjs'

const width = 30

function chooseImages(names) {
  // npm runs scripts in the package's folder and tells where it was called.
  if (names.length > 0) return names.map((name) => path.resolve(process.env.INIT_CWD ?? '.', name))
  const samples = path.join(root, 'models', 'samples')
  return readdirSync(samples)
    .filter((file) => file.endsWith('.png'))
    .sort()
    .map((file) => path.join(samples, file))
}

async function classifyAll(images) {
  const { ResNet, models } = await import(pathToFileURL(path.join(root, 'dist', 'index.mjs')))
  const started = performance.now()
  const model = await ResNet.load(models.digits)
  const loadMs = performance.now() - started
  const times = []
  let failures = 0
  try {
    console.log(`${'image'.padEnd(width)}  ${'label'.padEnd(16)} score    next best`)
    for (const image of images) {
      const relative = path.relative(root, image)
      const name = relative.startsWith('..') ? image : relative
      const begun = performance.now()
      try {
        const [best, next] = await model.classify(image, { topK: 2 })
        times.push(performance.now() - begun)
        const percent = ({ score }) => `${(score * 100).toFixed(1).padStart(5)} %`
        console.log(
          `${name.padEnd(width)}  ${best.label.padEnd(16)} ${percent(best)}  ${next.label} ${percent(next)}`,
        )
      } catch (error) {
        failures += 1
        console.log(`${name.padEnd(width)}  ${error.code}: ${error.message}`)
      }
    }
  } finally {
    await model.dispose()
  }
  const [first, ...others] = times
  const median = others.sort((a, b) => a - b)[others.length >> 1]
  const timing = [
    `${model.architecture.name} loaded in ${loadMs.toFixed(0)} ms`,
    first === undefined ? '' : `first image ${first.toFixed(0)} ms (compiles the network)`,
    median === undefined ? '' : `then ${median.toFixed(1)} ms each (median)`,
  ]
  console.log(`\n${timing.filter(Boolean).join(', ')}.`)
  return failures
}

ensureBuilt()
const own = process.argv.slice(2)
const images = chooseImages(own)
const missing = images.find((image) => !existsSync(image))
if (missing !== undefined) fail(`There is no image file '${missing}'. Check the path.`)
console.log(
  own.length > 0
    ? '\nThe embedded model knows one handwritten digit that fills the picture; it calls everything a digit.\n'
    : '\nHandwritten digits that the embedded model has not seen in training, each named after what it shows:\n',
)
const failures = await classifyAll(images)
console.log(`
Next:  npm run quickstart -- my.png          your own digit
       npm test                              the tests
       node dist/cli/main.js classify cat.jpg --model resnet50.safetensors`)
process.exitCode = failures > 0 ? 1 : 0
