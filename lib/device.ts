import type { Binding } from '../binding.js'
import { ResNetError, unsupported } from './errors.js'

export type Device = 'auto' | 'cpu' | 'cuda' | `cuda:${number}`

/** What was chosen for a model, and why. */
export interface DeviceExplanation {
  device: 'cpu'
  dtype: 'float32'
  /** Instruction set of the kernels. */
  isa: string
  threads: number
  /** 'options', or how the number came about: 'affinity 2, cgroup quota 1.5'. */
  threadsFrom: string
  /** Every device looked at, the chosen one among them. */
  considered: { device: string; chosen: boolean; reason: string }[]
}

interface Choice {
  device: Device
  dtype: string
  float32Precision: string
  threads: number
}

const noCuda = 'this version has no CUDA backend'

/**
 * Chooses the device that the options ask for.
 * @throws ERR_RESNET_UNAVAILABLE for a device by name that is not there, or when RESNET_ISA names what the processor
 * lacks; ERR_RESNET_UNSUPPORTED for a dtype or precision that the device has not.
 */
export function chooseDevice(
  binding: Binding,
  { device, dtype, float32Precision, threads }: Choice,
): DeviceExplanation {
  if (device.startsWith('cuda')) {
    throw new ResNetError(
      'ERR_RESNET_UNAVAILABLE',
      `device: expected 'auto' or 'cpu', received '${device}'; ${noCuda}`,
    )
  }
  if (dtype !== 'float32') {
    throw unsupported(
      `dtype: expected 'float32', received '${dtype}'; the CPU of this version computes in float32 only`,
    )
  }
  if (float32Precision === 'tf32') {
    throw unsupported(
      `float32Precision: expected 'highest' or 'high' on the CPU, received 'tf32', which is CUDA's`,
    )
  }
  const cpu = binding.cpuInfo()
  const tiers = cpu.tiers.map(
    ({ isa, supported, reason }) => `${isa}: ${supported ? 'yes' : 'no'} (${reason})`,
  )
  if (cpu.isa === undefined) {
    throw new ResNetError(
      'ERR_RESNET_UNAVAILABLE',
      `RESNET_ISA: expected a tier that this processor has, received '${process.env.RESNET_ISA}'; ${tiers.join('; ')}`,
    )
  }
  const why = device === 'cpu' ? 'asked for' : 'the first that works'
  return {
    device: 'cpu',
    dtype: 'float32',
    isa: cpu.isa,
    threads: threads === 0 ? cpu.threads : threads,
    threadsFrom: threads === 0 ? cpu.threadsFrom : 'options',
    considered: [
      ...(device === 'auto' ? [{ device: 'cuda', chosen: false, reason: noCuda }] : []),
      { device: 'cpu', chosen: true, reason: `${why}; ${cpu.model}; ${tiers.join('; ')}` },
    ],
  }
}
