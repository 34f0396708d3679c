/**
 * The least time that each step of a plan needs on a device: every tensor read once and written once per step, weights once
 * a batch, a strided 1x1 reads only the pixels that it uses; the larger of bytes over the copy rate and FLOP over the
 * matrix rate.
 */
import { buildNetwork, inputName, logitsName } from '../../architecture/build.js'
import { architectureNamed } from '../../architecture/families.js'
import { lower } from '../../graph/lower.js'
import type { Plan, PlanStep, PlanValue, ValueDType } from '../../graph/plan.js'

export interface Rates {
  /** Bytes read and written a second by a copy on the device. */
  copyBytesPerSecond: number
  /** FLOP a second of a large matrix product in the network's dtype; a multiply-add counts 2. */
  flopPerSecond: number
}

export interface StepBound {
  step: string
  kind: PlanStep['kind']
  /** Of the whole batch. */
  bytes: number
  flop: number
  milliseconds: number
  limit: 'memory' | 'compute'
}

const sizes = { float32: 4, float16: 2, bfloat16: 2, int32: 4, uint8: 1 } as const

const elements = ({ shape: [h, w, c] }: PlanValue) => h * w * c
const bytesOf = (value: PlanValue) => elements(value) * sizes[value.dtype]

interface Work {
  /** Of one image. */
  bytes: number
  flop: number
  /** Once a batch. */
  weightBytes: number
}

function workOf(step: PlanStep, values: readonly PlanValue[]): Work {
  const value = (id: number) => values[id] as PlanValue
  switch (step.kind) {
    case 'conv': {
      const [input, output] = [value(step.input), value(step.output)]
      const [r, s] = step.kernel
      const perOutput = (input.shape[2] / step.groups) * r * s
      const used =
        r === 1 && s === 1
          ? Math.ceil(input.shape[0] / step.stride[0]) * Math.ceil(input.shape[1] / step.stride[1])
          : input.shape[0] * input.shape[1]
      const read = used * input.shape[2] * sizes[input.dtype]
      const residual = step.residual === undefined ? 0 : bytesOf(value(step.residual))
      return {
        bytes: read + residual + bytesOf(output),
        flop: 2 * elements(output) * perOutput,
        weightBytes: step.k * perOutput * sizes[input.dtype],
      }
    }
    case 'linear': {
      const [input, output] = [value(step.input), value(step.output)]
      const c = input.shape[2]
      const weightBytes = step.k * c * sizes[input.dtype]
      return { bytes: bytesOf(input) + bytesOf(output), flop: 2 * c * step.k, weightBytes }
    }
    case 'input': {
      const to = value(step.output)
      return { bytes: elements(to) * sizes[step.dtype] + bytesOf(to), flop: 0, weightBytes: 0 }
    }
    case 'output':
      return { bytes: 2 * bytesOf(value(step.input)), flop: 0, weightBytes: 0 }
    case 'add':
      return {
        bytes: [step.a, step.b, step.output].reduce((sum, id) => sum + bytesOf(value(id)), 0),
        flop: 0,
        weightBytes: 0,
      }
    case 'topK':
      return {
        bytes: [step.input, step.scores, step.indices].reduce((sum, id) => sum + bytesOf(value(id)), 0),
        flop: 0,
        weightBytes: 0,
      }
    default:
      return { bytes: bytesOf(value(step.input)) + bytesOf(value(step.output)), flop: 0, weightBytes: 0 }
  }
}

/** A row a step, of a batch of `batch` images. */
export function roofline({ steps, values }: Plan, batch: number, rates: Rates): StepBound[] {
  return steps.map((step) => {
    const work = workOf(step, values)
    const bytes = batch * work.bytes + work.weightBytes
    const flop = batch * work.flop
    const [memory, compute] = [bytes / rates.copyBytesPerSecond, flop / rates.flopPerSecond]
    return {
      step: step.name,
      kind: step.kind,
      bytes,
      flop,
      milliseconds: Math.max(memory, compute) * 1000,
      limit: memory >= compute ? 'memory' : 'compute',
    }
  })
}

/** Images a second when every step takes its least time and borders of the network cost nothing. */
export function imagesPerSecond(bounds: readonly StepBound[], batch: number): number {
  const inside = bounds.filter(({ kind }) => kind !== 'input' && kind !== 'output')
  return (batch / inside.reduce((sum, { milliseconds }) => sum + milliseconds, 0)) * 1000
}

/** The plan of a named network on 224x224 uint8 images; 'tf32' is float32 with TF32 allowed. */
export function measuredPlan(network: string, dtype: string): Plan {
  const spec = architectureNamed(network)
  const shape = [224, 224, spec.inChannels] as const
  const normalisation = { mean: [0, 0, 0], std: [1, 1, 1] }
  return lower({
    graph: buildNetwork(spec).graph,
    inputs: [{ name: inputName, shape, dtype: 'uint8', layout: 'nhwc', ...normalisation }],
    outputs: [{ name: logitsName, layout: 'nchw' }],
    dtype: (dtype === 'tf32' ? 'float32' : dtype) as ValueDType,
  }).plan
}
