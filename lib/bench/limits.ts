import type { DeviceInfo } from '../../binding.js'
import type { Signal } from '../abort.js'
import type { ResNetError } from '../errors.js'
import { addon, native } from '../native/call.js'
import { cudaDevice } from '../native/devices.js'
import { copyCeiling, matrixCeiling } from './gpu/results.js'
import type { Limit, Trial } from './types.js'

/** The ceilings of whatever the trials run on: of the CPU measured, for all its threads and for one; of a GPU as it tells them. */
export async function limitsOf(trials: readonly Trial[], signal?: Signal): Promise<Limit[]> {
  const gpus = new Map<string, Limit[]>()
  const onCpu: Trial[] = []
  for (const trial of trials) {
    const info = await gpuOf(trial.device)
    if (info === undefined) onCpu.push(trial)
    else gpus.set(`cuda:${info.index}`, gpuLimits(info))
  }
  return [...(await cpuLimits(onCpu, signal)), ...[...gpus.values()].flat()]
}

async function cpuLimits(trials: readonly Trial[], signal: Signal | undefined): Promise<Limit[]> {
  const counts = [...new Set(trials.map(({ threads }) => Math.max(1, threads)))]
  const limits: Limit[] = []
  for (const threads of counts.length > 1 ? counts.filter((count) => count > 1) : counts) {
    const measured = await native(signal, (control) => addon().measureLimits({ threads, control }))
    // Each measures one thread too.
    const known = new Set(limits.map((limit) => limit.threads))
    limits.push(...measured.filter((limit) => !known.has(limit.threads)))
  }
  return limits
}

/** undefined: it is no GPU, or 'auto' and there is none. @throws ERR_RESNET_UNAVAILABLE for one by name. */
async function gpuOf(device: string): Promise<DeviceInfo | undefined> {
  if (device !== 'auto' && !device.startsWith('cuda')) return undefined
  try {
    return (await cudaDevice(addon(), device === 'auto' ? 'cuda' : device)).info
  } catch (error) {
    if (device === 'auto' && (error as ResNetError).code === 'ERR_RESNET_UNAVAILABLE') return undefined
    throw error
  }
}

/** What the card's shares of the roofline are taken against; what is not known is NaN, in JSON null. */
export function gpuLimits({ index, name, ceilings }: DeviceInfo): Limit[] {
  const { bytesPerSecond, source, ...rates } = ceilings
  const gpu = { device: `cuda:${index}`, name, source }
  const row = (what: string, value: number, unit: string): Limit => {
    return { name: what, value: value > 0 ? value : Number.NaN, unit, threads: 0, gpu }
  }
  return [
    row(copyCeiling, bytesPerSecond / 1e9, 'GB/s'),
    ...(['float16', 'bfloat16', 'tf32', 'float32'] as const).map((dtype) =>
      row(matrixCeiling(dtype), rates[dtype] / 1e12, `TFLOP/s ${dtype}`),
    ),
  ]
}
