// What every step in JavaScript begins with: its arguments, how much to do in each mode, and how to report.
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: {
    mode: { type: 'string', default: 'dry' },
    scratch: { type: 'string', default: '/tmp' },
    network: { type: 'string' },
    dtype: { type: 'string' },
    role: { type: 'string' },
    batch: { type: 'string' },
  },
})
export const { mode, scratch, network, dtype, role } = values
/** Images of one batch, of steps that measure one. */
export const batch = Number(values.batch)
export const dry = mode === 'dry'

/** How much is measured, first what matters most. A rehearsal runs the same code on pictures and batches so small that a simulation can. */
export const amount = {
  full: { batches: [256, 1, 32, 8, 128, 512], rounds: 3, seconds: 0.25, size: 224 },
  quick: { batches: [256, 1, 32], rounds: 3, seconds: 0.25, size: 224 },
  dry: { batches: [1, 2], rounds: 2, seconds: 0.05, size: 32 },
}[mode]

export function report(kind, found) {
  process.stdout.write(`${JSON.stringify({ kind, ...found })}\n`)
}

/** Ends the step: this machine lacks what it needs. run.mjs lists it as skipped, with the reason. */
export const unavailableStatus = 69
export function unavailable(reason) {
  process.stderr.write(`${reason}\n`)
  process.exit(unavailableStatus)
}

export const classes = 1000
