import { setImmediate as nextTurn } from 'node:timers/promises'

/** Elementary operations (a multiply-add, a look-up) between two turns of the event loop: about a millisecond's worth. */
const workPerTurn = 1 << 18

/**
 * Calls `fill` for each row, letting other JavaScript run about every millisecond.
 * @throws the signal's reason, at the next pause, once it is aborted.
 */
export async function rowByRow(
  rows: number,
  workPerRow: number,
  fill: (row: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  const rowsPerTurn = Math.max(1, Math.floor(workPerTurn / workPerRow))
  for (let row = 0; row < rows; row += 1) {
    if (row > 0 && row % rowsPerTurn === 0) {
      await nextTurn()
      signal?.throwIfAborted()
    }
    fill(row)
  }
}
