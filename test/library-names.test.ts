import { readFileSync } from 'node:fs'
import path from 'node:path'
import { parametersOf } from '../lib/architecture/build.js'
import { matchCheckpoint } from '../lib/weights/match.js'

interface Listing {
  library: string
  architecture: string
  numClasses: number
  tensors: [name: string, dtype: string, shape: number[]][]
}

const file = path.join(__dirname, 'fixtures', 'names.json')
const { rows } = JSON.parse(readFileSync(file, 'utf8')) as { rows: Listing[] }

// Listings made by the libraries themselves: match.test.ts makes its own, from the tables under test.
describe('checkpoints as the libraries write them', () => {
  test.each(
    rows.map((row) => [`${row.library} ${row.architecture}, ${row.numClasses} classes`, row] as const),
  )('%s', (_title, { architecture, numClasses, tensors }) => {
    const entries = tensors.map(([name, dtype, shape]) => ({ name, dtype, shape }))
    const matched = matchCheckpoint(entries, { source: 'a.safetensors' })
    expect(matched.architecture).toMatchObject({ name: architecture, numClasses })
    const shapes = new Map(entries.map(({ name, shape }) => [name, shape]))
    const parameters = parametersOf(matched.architecture)
    for (const { name, shape } of parameters) expect(shapes.get(matched.names[name] as string)).toEqual(shape)
    expect(new Set(Object.values(matched.names)).size).toBe(parameters.length)
    const trained = entries.filter(({ name }) => !name.endsWith('num_batches_tracked'))
    expect(trained.length).toBe(parameters.length)
  })
})
