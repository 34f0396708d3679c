// What every step in JavaScript begins with: its arguments, how much to do in each mode, and how to report.
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: {
    mode: { type: 'string', default: 'dry' },
    scratch: { type: 'string', default: '/tmp' },
    network: { type: 'string' },
    dtype: { type: 'string' },
    role: { type: 'string' },
  },
})
export const { mode, scratch, network, dtype, role } = values
export const dry = mode === 'dry'

/** How much is measured. A rehearsal runs the same code on pictures and batches so small that a simulation can. */
export const amount = {
  full: { batches: [1, 8, 32, 128, 256, 512], rounds: 3, seconds: 0.35, size: 224 },
  quick: { batches: [1, 32, 256], rounds: 3, seconds: 0.3, size: 224 },
  dry: { batches: [1, 2], rounds: 2, seconds: 0.05, size: 32 },
}[mode]

export function report(kind, found) {
  process.stdout.write(`${JSON.stringify({ kind, ...found })}\n`)
}
