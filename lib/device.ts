import { homedir } from 'node:os'
import path from 'node:path'
import type { Binding, CompileCall, DeviceCeilings, DeviceInfo, Plugin } from '../binding.js'
import { ResNetError, unsupported } from './errors.js'
import { type CudaName, cudaDevice, cudaDevices, type Lease, leaseDevice } from './native/devices.js'

export type Device = 'auto' | 'cpu' | 'cuda' | `cuda:${number}`
/** In which networks compute; results are float32 in any case. */
export type ComputeDType = 'float32' | 'float16' | 'bfloat16'

/** What was chosen for a model, and why. */
export interface DeviceExplanation {
  device: 'cpu' | CudaName
  dtype: ComputeDType
  /** Of the processor or GPU. */
  name: string
  /** Instruction set of the kernels, or the GPU's compute capability: 'sm_90'. */
  isa: string
  /** Of the CPU; 0 on a GPU. */
  threads: number
  /** 'options', or how the number came about: 'affinity 2, cgroup quota 1.5'. */
  threadsFrom: string
  /** Of a GPU: what `explain` takes shares of the roofline against, and where the figures come from. */
  ceilings?: DeviceCeilings
  /** Every device looked at, the chosen one among them. */
  considered: { device: string; chosen: boolean; reason: string }[]
}

/** Options that only a CUDA device reads. */
export interface CudaOptions {
  memoryLimit: number
  workspaceLimit: number
  deterministic: boolean
  autotune: 'off' | 'quick' | 'full'
  graphs: boolean
  tracks: 1 | 2 | 'auto'
  tileOrder: 'auto' | 'forward' | 'alternate'
  engineCache: string | false | undefined
}

interface Choice extends CudaOptions {
  device: Device
  dtype?: string
  float32Precision: string
  threads: number
}

/** The device of a model: what to tell its user, the device itself (not of the CPU), and what its programs are made with. */
export interface ChosenDevice {
  explanation: DeviceExplanation
  lease?: Lease
  compileOptions: Pick<
    CompileCall,
    | 'device'
    | 'deterministic'
    | 'autotune'
    | 'graphs'
    | 'tracks'
    | 'tileOrder'
    | 'workspaceLimit'
    | 'engineCache'
  >
}

/**
 * Chooses the device that the options ask for, and opens it; whoever gets it releases its lease.
 * @throws ERR_RESNET_UNAVAILABLE for a device by name that is not there, or when RESNET_ISA names what the processor
 * lacks; ERR_RESNET_UNSUPPORTED for a dtype, precision or option that the device has not; ERR_RESNET_OUT_OF_MEMORY.
 */
export async function chooseDevice(binding: Binding, choice: Choice): Promise<ChosenDevice> {
  const { device } = choice
  if (device === 'cpu') return cpuDevice(binding, choice, [])
  if (device !== 'auto') {
    const { plugin, info } = await cudaDevice(binding, device).catch((cause) => {
      throw new ResNetError(
        'ERR_RESNET_UNAVAILABLE',
        `device: '${device}' cannot be used; ${cause.message}`,
        {
          cause,
        },
      )
    })
    return openCuda(plugin, info, choice, 'asked for')
  }
  let reason: string
  try {
    const { plugin, devices } = await cudaDevices(binding)
    return await openCuda(plugin, devices[0] as DeviceInfo, choice, 'the first that works')
  } catch (error) {
    // Only what the device lacks is passed over; a wrong option stays an error on any device.
    if (!(error instanceof ResNetError) || error.code !== 'ERR_RESNET_UNAVAILABLE') throw error
    reason = error.message
  }
  return cpuDevice(binding, choice, [{ device: 'cuda', chosen: false, reason }])
}

async function openCuda(
  plugin: Plugin,
  info: DeviceInfo,
  choice: Choice,
  why: string,
): Promise<ChosenDevice> {
  const { dtype = 'float16', memoryLimit, deterministic, autotune, graphs, workspaceLimit } = choice
  const { tileOrder } = choice
  if (dtype === 'int8') {
    throw unsupported(`dtype: expected 'float16', 'bfloat16' or 'float32' on CUDA, received 'int8'`)
  }
  const lease = await leaseDevice(plugin, info.index, memoryLimit)
  const memory = `${Math.round(info.memoryBytes / 2 ** 30)} GiB${info.mig ? ', a MIG slice' : ''}`
  const explanation: DeviceExplanation = {
    device: lease.name,
    dtype: dtype as ComputeDType,
    name: info.name,
    isa: `sm_${info.capability.replace('.', '')}`,
    threads: 0,
    threadsFrom: 'the GPU has its own',
    ceilings: info.ceilings,
    considered: [{ device: lease.name, chosen: true, reason: `${why}; ${info.name}, ${memory}` }],
  }
  const engineCache =
    choice.engineCache === false ? {} : { engineCache: choice.engineCache ?? defaultCacheFolder() }
  const compileOptions = {
    device: lease.device,
    deterministic,
    autotune,
    graphs,
    tracks: `${choice.tracks}` as const,
    tileOrder,
    workspaceLimit,
    ...engineCache,
  }
  return { explanation, lease, compileOptions }
}

/** Where compiled engines are kept between processes. */
function defaultCacheFolder(): string {
  const base = process.env.XDG_CACHE_HOME || path.join(homedir(), '.cache')
  return path.join(base, 'resnet', 'engines')
}

function cpuDevice(
  binding: Binding,
  { device, dtype = 'float32', float32Precision, threads, memoryLimit }: Choice,
  refused: DeviceExplanation['considered'],
): ChosenDevice {
  const instead = refused.map(({ reason }) => `; CUDA, which has it, cannot be used: ${reason}`).join('')
  if (dtype !== 'float32') {
    throw unsupported(
      `dtype: expected 'float32', received '${dtype}'; the CPU of this version computes in float32 only${instead}`,
    )
  }
  if (float32Precision === 'tf32') {
    throw unsupported(
      `float32Precision: expected 'highest' or 'high' on the CPU, received 'tf32', which is CUDA's${instead}`,
    )
  }
  if (memoryLimit > 0 && device === 'cpu') {
    throw unsupported(
      `memoryLimit: expected none on the CPU, received ${memoryLimit}; it caps a GPU's memory`,
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
  const chosen = { device: 'cpu', chosen: true, reason: `${why}; ${cpu.model}; ${tiers.join('; ')}` }
  const explanation: DeviceExplanation = {
    device: 'cpu',
    dtype: 'float32',
    name: cpu.model,
    isa: cpu.isa,
    threads: threads === 0 ? cpu.threads : threads,
    threadsFrom: threads === 0 ? cpu.threadsFrom : 'options',
    considered: [...refused, chosen],
  }
  return { explanation, compileOptions: {} }
}
