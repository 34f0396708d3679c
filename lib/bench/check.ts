import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { bytesOf } from './python.js'

/** Largest max |difference| / max |logit| of a peer's logits and this package's: those of the package, of both sides. */
const tolerances: Record<string, number> = { float32: 2e-4, float16: 2e-2, bfloat16: 0.1, int8: 0.3 }

/** A file of logits that this package's driver writes and the peers' are held against. */
export function keepLogits(file: string, logits: Float32Array): void {
  writeFileSync(file, bytesOf(logits))
}

/**
 * How far `logits` are from those in `file`; undefined where there is none to compare with.
 * @throws when they are further than the dtype excuses: a wrong network is not timed.
 */
export function checkLogits(file: string, logits: Float32Array, dtype: string): number | undefined {
  if (!existsSync(file)) return undefined
  const ours = new Float32Array(Uint8Array.from(readFileSync(file)).buffer)
  const error = logitsError(ours, logits)
  const most = tolerances[dtype] ?? 0
  if (error <= most) return error
  throw new Error(
    `its logits are ${error.toExponential(1)} from this package's (max |difference| / max |logit|), more than ${most} of ` +
      `${dtype}; not timed`,
  )
}

/** Infinite for results of different lengths, NaN where one is. */
export function logitsError(ours: Float32Array, theirs: Float32Array): number {
  if (ours.length !== theirs.length) return Number.POSITIVE_INFINITY
  let difference = 0
  let largest = 0
  ours.forEach((value, i) => {
    difference = Math.max(difference, Math.abs(value - (theirs[i] as number)))
    largest = Math.max(largest, Math.abs(value))
  })
  return difference / largest
}
