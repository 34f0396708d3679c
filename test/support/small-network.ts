import { parametersOf } from '../../lib/architecture/build.js'
import {
  type Architecture,
  type ArchitectureOptions,
  defineArchitecture,
} from '../../lib/architecture/spec.js'
import type { Written } from './safetensors.js'

/** A network that runs in a millisecond and has every kind of layer of the large ones. */
export const smallOptions: ArchitectureOptions = {
  block: 'bottleneck',
  depths: [1, 1],
  widths: [4, 8],
  stem: 'cifar',
  numClasses: 3,
}
export const small = defineArchitecture(smallOptions)

/** Parameters that differ from name to name, variances positive. */
export function parameters(spec: Architecture, rename = (name: string) => name): Written[] {
  return parametersOf(spec).map(({ name, shape }, seed) => {
    const size = shape.reduce((product, length) => product * length, 1)
    const at = (i: number) => Math.sin(seed * 1.7 + i * 0.9)
    const value = name.endsWith('running_var') ? (i: number) => 1 + 0.5 * at(i) : (i: number) => 0.5 * at(i)
    return { name: rename(name), shape, data: Float32Array.from({ length: size }, (_, i) => value(i)) }
  })
}
