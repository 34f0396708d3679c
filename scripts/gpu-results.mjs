// `npm run gpu-results -- FOLDER`: takes what scripts/gpu-check has written into bench/results/<card>/: the results, a report
// with charts, and cuDNN's description of the device. Rehearsals are refused.
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { ensureBuilt, fail, root } from './setup.mjs'

const require = createRequire(import.meta.url)
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { to: { type: 'string', default: path.join(root, 'bench', 'results') } },
})
const [folder] = positionals
if (folder === undefined) {
  console.error('usage: npm run gpu-results -- <folder that gpu-check wrote> [--to bench/results]')
  process.exit(2)
}
ensureBuilt()
const { refusal, cardSlug, problemsOf } = require('../dist/bench/gpu/results.js')
const { gpuReport } = require('../dist/bench/gpu/report.js')

const file = path.join(folder, 'results.json')
if (!existsSync(file)) fail(`There is no ${file}: name the folder that scripts/gpu-check wrote.`)
let results
try {
  results = JSON.parse(readFileSync(file, 'utf8'))
} catch (error) {
  fail(`${file} is not JSON: ${error.message}`)
}
const why = refusal(results)
if (why !== undefined) fail(`${file} is not kept: ${why}.`)

const target = path.join(values.to, cardSlug(results.card.name))
mkdirSync(target, { recursive: true })
const stem = path.join(target, results.date.slice(0, 10))
copyFileSync(file, `${stem}.json`)
writeFileSync(`${stem}.html`, gpuReport(results))
if (results.card.cudnnDevice !== undefined) {
  writeFileSync(
    path.join(target, 'cudnn-device.json'),
    `${JSON.stringify(results.card.cudnnDevice, null, 2)}\n`,
  )
}
console.log(`Written to ${path.relative(process.cwd(), target)}/.`)
const problems = problemsOf(results)
if (problems.length > 0) console.log(`The run missed or failed:\n  ${problems.join('\n  ')}`)
