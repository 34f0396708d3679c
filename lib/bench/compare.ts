import { type Interval, ratioOfMedians } from './statistics.js'
import type { Measured, Results } from './types.js'

/** Figures that are compared, and whether more is better. */
export const figures = {
  'images/s': { of: (round: Measured) => round.imagesPerSecond, higherIsBetter: true },
  'p50 ms': { of: (round: Measured) => known(round.latencyMs.p50), higherIsBetter: false },
  'p90 ms': { of: (round: Measured) => known(round.latencyMs.p90), higherIsBetter: false },
  'p99 ms': { of: (round: Measured) => known(round.latencyMs.p99), higherIsBetter: false },
  'p99.9 ms': { of: (round: Measured) => known(round.latencyMs.p999), higherIsBetter: false },
  'event loop ms': { of: (round: Measured) => known(round.eventLoopP99Ms), higherIsBetter: false },
  'CPU ms/image': { of: (round: Measured) => known(round.cpuMsPerImage), higherIsBetter: false },
  'load ms': { of: (round: Measured) => round.loadMs, higherIsBetter: false },
  'peak MB': { of: (round: Measured) => known(round.peakMb), higherIsBetter: false },
  'device MB': { of: (round: Measured) => known(round.deviceMb), higherIsBetter: false },
  'by driver MB': { of: (round: Measured) => known(round.deviceDriverMb), higherIsBetter: false },
} as const
export type Figure = keyof typeof figures

/** Those of a GPU's memory: tables without a GPU leave them out. */
const ofGpus: readonly Figure[] = ['device MB', 'by driver MB']

/** What a table of these rounds shows. */
export function figuresIn(rounds: readonly Measured[]): Figure[] {
  const names = Object.keys(figures) as Figure[]
  return names.filter((name) => !ofGpus.includes(name) || rounds.some(({ deviceMb }) => deviceMb != null))
}

/** What could not be read is NaN, which JSON has as null. */
function known(value: number | null | undefined): number {
  return value ?? Number.NaN
}

export interface Comparison extends Interval {
  trial: string
  driver: string
  figure: Figure
  /** 'too few rounds': an interval needs at least 4 of each. */
  verdict: 'better' | 'worse' | 'no difference shown' | 'too few rounds'
}

const fewestRounds = 4

/** The second result against the first: b over a, for every trial and driver that both have. */
export function compare(a: Results, b: Results): Comparison[] {
  return a.trials.flatMap((trial) => {
    const other = b.trials.find(({ name }) => name === trial.name)
    return trial.drivers.flatMap(({ driver, rounds }) => {
      const theirs = other?.drivers.find((result) => result.driver === driver)?.rounds ?? []
      if (rounds.length === 0 || theirs.length === 0) return []
      return (Object.keys(figures) as Figure[]).flatMap((figure): Comparison[] => {
        const { of, higherIsBetter } = figures[figure]
        const interval = ratioOfMedians(rounds.map(of), theirs.map(of))
        // Not known on a side, or nothing on the first.
        if (!Number.isFinite(interval.ratio)) return []
        const enough = Math.min(rounds.length, theirs.length) >= fewestRounds
        const verdict = enough ? judge(interval, higherIsBetter) : 'too few rounds'
        return [{ trial: trial.name, driver, figure, ...interval, verdict }]
      })
    })
  })
}

function judge({ low, high }: Interval, higherIsBetter: boolean): Comparison['verdict'] {
  if (low > 1) return higherIsBetter ? 'better' : 'worse'
  if (high < 1) return higherIsBetter ? 'worse' : 'better'
  return 'no difference shown'
}
