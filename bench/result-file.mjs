// Where a measurement of this day and machine is kept.
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('./results/', import.meta.url))

export function resultFile(date, machine, suffix = '') {
  const slug = machine.cpu
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
  return path.join(folder, `${date.slice(0, 10)}-${slug}${suffix}.json`)
}
