/** How the seconds of one run of gpu-check are shared among its steps, so that the whole ends in time whatever a step does. */
import type { Mode, Step } from './steps.js'

/** Seconds of a whole run: a machine's limit of ten minutes in mind; of --quick, two. A rehearsal has no limit to keep. */
export const budgets: Record<Mode, number> = { full: 540, quick: 115, dry: 3600 }
/** Kept for writing the results. */
export const reserveSeconds = 5

/**
 * Every step's share is kept for it while it fits, first come first; whatever steps leave of theirs goes to the next ones. A step
 * whose share is not kept, since it is a spare one or did not fit, runs when that much is left over.
 */
export class Budget {
  private readonly available: number
  private readonly kept = new Map<string, number>()

  constructor(
    private readonly steps: readonly Step[],
    seconds: number,
  ) {
    this.available = seconds - reserveSeconds
    let free = this.available
    for (const { id, share, spare, deviceOnly } of steps) {
      const kept = spare || deviceOnly || share > free ? 0 : share
      free -= kept
      this.kept.set(id, kept)
    }
  }

  /** Seconds that no later step has a claim to, when `spent` of the whole are gone. */
  left({ id }: Step, spent: number): number {
    const later = this.steps.slice(this.steps.findIndex((step) => step.id === id) + 1)
    return this.available - spent - later.reduce((sum, step) => sum + this.keptFor(step), 0)
  }

  /** Seconds that a step may take; undefined: too few are left for it to begin. */
  allowance(step: Step, spent: number): number | undefined {
    const seconds = Math.min(step.most, this.left(step, spent))
    // What starting and ending processes cost may be missing from a share.
    const least = this.keptFor(step) > 0 ? step.share / 2 : step.share
    return seconds >= least ? seconds : undefined
  }

  private keptFor({ id }: Step): number {
    return this.kept.get(id) ?? 0
  }
}
