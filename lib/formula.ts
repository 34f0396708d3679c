import type { Architecture } from './architecture/spec.js'

/** Bounds [lo, hi) of a parameter's uniform values, by name and shape. */
export type ParameterRule = (name: string, shape: readonly number[]) => readonly [lo: number, hi: number]

/**
 * He initialisation (He et al. 2015, fan out, uniform: bound √(6 / fanOut)) with norms that pass their input through. Each
 * block's last norm has the weight 1/√blocks, so that the variance of a sum over all blocks does not grow with depth
 * (Goyal et al. 2017 set it to 0, with which an untrained net would ignore its blocks).
 */
export function heRule(spec: Architecture): ParameterRule {
  const blocks = spec.depths.reduce((sum, depth) => sum + depth, 0)
  const lastNorm =
    spec.block === 'bottleneck' ? /^layer\d+\.\d+\.bn3\.weight$/ : /^layer\d+\.\d+\.bn2\.weight$/
  const headInputs = (spec.widths.at(-1) as number) * (spec.block === 'bottleneck' ? 4 : 1)
  return (name, shape) => {
    if (name.startsWith('fc.')) return symmetric(1 / Math.sqrt(headInputs))
    if (shape.length === 4) {
      const [k, , r, s] = shape as [number, number, number, number]
      return symmetric(Math.sqrt(6 / (k * r * s)))
    }
    if (lastNorm.test(name)) return constant(1 / Math.sqrt(blocks))
    return constant(/\.(weight|running_var)$/.test(name) ? 1 : 0)
  }
}

const symmetric = (bound: number) => [-bound, bound] as const
const constant = (value: number) => [value, value] as const
