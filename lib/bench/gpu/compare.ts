/** How answers are compared with PyTorch's on a device, and how it is shown that a wrong answer would have been noticed. */
import type { Check } from './results.js'

/**
 * max|values - reference| / max|reference|; NaN where one of them is NaN.
 * @throws RangeError for another number of values.
 */
export function errorOf(values: ArrayLike<number>, reference: ArrayLike<number>): number {
  if (values.length !== reference.length) {
    throw new RangeError(`expected ${reference.length} values, received ${values.length}`)
  }
  let largest = 0
  let worst = 0
  for (let i = 0; i < reference.length; ++i) {
    const expected = reference[i] as number
    largest = Math.max(largest, Math.abs(expected))
    worst = Math.max(worst, Math.abs((values[i] as number) - expected))
  }
  return worst / largest
}

export interface Comparison {
  case: string
  /** Against the right answer: good at or below the bound. */
  error: number
  bound: number
  /** Against PyTorch's answer with one weight, or one input, changed: it must be above the bound. */
  controlError: number
}

/** Comparisons of one kind, counted: those that held, and those whose control was refused. */
export class Tally {
  private readonly all: Comparison[] = []

  constructor(
    /** 'operations beside PyTorch, float16' */
    private readonly name: string,
  ) {}

  add(comparison: Comparison): void {
    this.all.push(comparison)
  }

  /** Two checks: the answers, and the controls. Without a comparison both fail. */
  checks(): Check[] {
    const held = this.all.filter(({ error, bound }) => error <= bound)
    const refused = this.all.filter(({ controlError, bound }) => controlError > bound)
    const closest = extreme(this.all, ({ error, bound }) => error / bound)
    const faintest = extreme(this.all, ({ controlError, bound }) => -controlError / bound)
    return [
      {
        name: this.name,
        good: this.all.length > 0 && held.length === this.all.length,
        detail:
          `${held.length} of ${this.all.length} answers within their bounds` +
          (closest
            ? `; closest to it: ${closest.case}, ${text(closest.error)} of ${text(closest.bound)}`
            : ''),
      },
      {
        name: `${this.name}: control, answers with one value changed`,
        good: this.all.length > 0 && refused.length === this.all.length,
        detail:
          `${refused.length} of ${this.all.length} refused` +
          (faintest
            ? `; the faintest: ${faintest.case}, ${text(faintest.controlError)}, ${text(faintest.bound)} allowed`
            : ''),
      },
    ]
  }
}

const text = (value: number) => value.toExponential(1)

/** The row that has the largest value; one that is no number counts as the largest of all. */
function extreme<Row>(rows: readonly Row[], measure: (row: Row) => number): Row | undefined {
  const rank = (row: Row) => {
    const value = measure(row)
    return Number.isNaN(value) ? Number.POSITIVE_INFINITY : value
  }
  return rows.reduce<Row | undefined>(
    (best, row) => (best === undefined || rank(row) > rank(best) ? row : best),
    undefined,
  )
}
