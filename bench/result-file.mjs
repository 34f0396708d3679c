// Where a measurement of this day and machine is kept.
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('./results/', import.meta.url))

export function resultFile(date, machine, suffix = '') {
  const slug = machine.cpu
    .toLowerCase()
    .replace(/\((r|tm)\)|processor/g, '')
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
  return path.join(folder, `${date.slice(0, 10)}-${slug}${suffix}.json`)
}

/** Puts what a run of `name` found beside what others of this day and machine did. */
export async function keepReport(name, report) {
  const require = createRequire(import.meta.url)
  const { describeMachine } = require('../dist/bench/machine.js')
  const { writeWhole } = require('../dist/bench/results.js')
  const date = new Date().toISOString()
  // Taken when the run is over: its load is the run's own.
  const { loadBefore: _, ...machine } = describeMachine()
  const file = resultFile(date, machine, '-serving')
  const before = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined
  const reports = { ...before?.reports, [name]: { date, ...report } }
  await writeWhole(
    file,
    `${JSON.stringify({ format: 'resnet-serving', version: 1, machine, reports }, null, 2)}\n`,
  )
  console.error(`Kept in ${path.relative(process.cwd(), file)}`)
}
