import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { loadBinding } from '../lib/native/load.js'
import { opFixtures } from '../scripts/formula.cjs'

interface Row {
  name: string
  /** Relative to max|reference|, or a sentence. */
  error: number | string
  good: boolean
}

const script = path.join(__dirname, '..', 'scripts', 'parity-ops.mjs')

// The tier is the process's, so each has its own.
describe('operations against torch.nn.functional', () => {
  for (const { isa, supported } of loadBinding().cpuInfo().tiers) {
    const run = supported ? test : test.skip
    run(`${opFixtures().rows.length} cases [${isa}]`, () => {
      const env = { ...process.env, RESNET_ISA: isa }
      const lines = execFileSync(process.execPath, [script], { env, encoding: 'utf8' }).trim().split('\n')
      const rows = lines.map((line) => JSON.parse(line) as Row)
      expect(rows.filter(({ good }) => !good)).toEqual([])
      expect(rows.length).toBeGreaterThan(opFixtures().rows.length)
    })
  }
})
