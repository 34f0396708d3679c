import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import { networkFixtures, rule } from '../scripts/formula.cjs'

interface Row {
  network: string
  isa: string
  batch: number
  output: string
  error: number
  good: boolean
}

const script = path.join(__dirname, '..', 'scripts', 'parity.mjs')

/** Rows of scripts/parity.mjs, in a process of its own: it ends with status 1 when a row is outside the bound. */
async function parity(...options: string[]): Promise<{ rows: Row[]; status: number }> {
  const call = promisify(execFile)(process.execPath, [script, '--json', ...options], { maxBuffer: 2 ** 24 })
  const { stdout, stderr, code } = await call.then(
    ({ stdout }) => ({ stdout, stderr: '', code: 0 }),
    (error: { stdout: string; stderr: string; code: number }) => error,
  )
  if (stderr !== '') throw new Error(stderr)
  const lines = stdout.split('\n').filter((line) => line !== '')
  return { rows: lines.map((line) => JSON.parse(line) as Row), status: code }
}

const exact = (name: string) => `^${name.replaceAll('.', '\\.')}$`
const fixtures = networkFixtures().rows

describe('parity with PyTorch', () => {
  test('the fixtures hold every architecture at three sizes, one odd, one not square', () => {
    const sizes = new Map<string, string[]>()
    for (const { architecture, height, width, outputStride } of fixtures) {
      if (architecture === null || architecture === 'resnet20' || outputStride !== 32) continue
      sizes.set(architecture, [...(sizes.get(architecture) ?? []), `${height}x${width}`])
    }
    expect(sizes.size).toBe(10)
    for (const list of sizes.values()) expect(list).toEqual(['224x224', '97x97', '64x160'])
  })

  test.each(fixtures.map(({ name }) => name))(
    '%s',
    async (name) => {
      const fixture = fixtures.find((row) => row.name === name)
      const { rows, status } = await parity('--only', exact(name))
      expect(rows.filter(({ good }) => !good)).toEqual([])
      const outputs = fixture?.tensors.map((tensor) => tensor.name) ?? []
      expect([...new Set(rows.map(({ output }) => output))].sort()).toEqual([...outputs].sort())
      if (outputs.includes('logits')) {
        const batches = rows.filter(({ output }) => output === 'logits').map(({ batch }) => batch)
        expect([...new Set(batches)]).toEqual([1, 3, 8])
      }
      expect(status).toBe(0)
    },
    300_000,
  )
})

// That the bound can be missed: the same network, with one mistake each.
describe('the parity check catches', () => {
  const check = (network: string, mutation: string) =>
    parity('--only', exact(network), '--mutation', mutation)
  const logits = ({ rows }: { rows: Row[] }) => rows.filter(({ output }) => output === 'logits')

  test('nothing in the unspoilt network', async () => {
    const result = await check('resnet50 97x97', 'none')
    expect(logits(result).length).toBeGreaterThan(0)
    expect(result.status).toBe(0)
  })

  test.each([
    ['the stride in the 1x1', 'stride', 'resnet50 97x97'],
    ['a wrong eps', 'eps', 'resnet50 97x97'],
    ['a missing shortcut', 'shortcut', 'resnet50 97x97'],
    ['a dropped relu', 'relu', 'resnet50 97x97'],
    ['swapped labels', 'labels', 'resnet50 97x97'],
    ['a wrong eps in basic blocks', 'eps', 'resnet18 64x160'],
    ['a missing shortcut of a basic block', 'shortcut', 'resnet18 64x160'],
    ['a dropped relu of a basic block', 'relu', 'resnet18 64x160'],
  ])('%s', async (_title, mutation, network) => {
    const result = await check(network, mutation)
    expect(logits(result).length).toBeGreaterThan(0)
    for (const { error } of logits(result)) expect(error).toBeGreaterThan(100 * rule.bound)
    expect(result.status).toBe(1)
  })
})
