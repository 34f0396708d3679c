import type { Binding, Device, DeviceInfo, Plugin } from '../../binding.js'
import { ResNetError } from '../errors.js'
import { native } from './call.js'
import { cudaBackend } from './plugin.js'

export type CudaName = `cuda:${number}`

/** A device that somebody uses; released once. */
export interface Lease {
  readonly name: CudaName
  readonly device: Device
  /** Resolves, for its last user, once what nothing else holds of it is freed. */
  release(): Promise<void>
}

interface Opened {
  device: Promise<Device>
  users: number
}

const opened = new Map<string, Opened>()

/** The CUDA devices that can be used. @throws ERR_RESNET_UNAVAILABLE with the reason why there are none. */
export async function cudaDevices(binding: Binding): Promise<{ plugin: Plugin; devices: DeviceInfo[] }> {
  const { plugin, probe, reason } = await cudaBackend(binding)
  if (plugin === undefined || probe === undefined || reason !== '') {
    throw new ResNetError('ERR_RESNET_UNAVAILABLE', reason)
  }
  return { plugin, devices: probe.devices }
}

/**
 * The device that 'cuda' (the first) or 'cuda:N' names.
 * @throws ERR_RESNET_UNAVAILABLE when it cannot be used.
 */
export async function cudaDevice(
  binding: Binding,
  wish: string,
): Promise<{ plugin: Plugin; info: DeviceInfo }> {
  const { plugin, devices } = await cudaDevices(binding)
  const info =
    wish === 'cuda' ? devices[0] : devices.find(({ index }) => index === Number(wish.slice('cuda:'.length)))
  if (info !== undefined) return { plugin, info }
  const names = devices.map(({ index, name }) => `cuda:${index} (${name})`).join(', ')
  throw new ResNetError('ERR_RESNET_UNAVAILABLE', `there is no device '${wish}'; this machine has ${names}`)
}

/** Opens a device, shared by all who use it under the same cap in this thread. */
export async function leaseDevice(plugin: Plugin, index: number, memoryLimit: number): Promise<Lease> {
  const key = `${plugin.info.path} ${index} ${memoryLimit}`
  const entry = opened.get(key) ?? {
    device: native(undefined, () => plugin.openDevice({ index, memoryLimit })),
    users: 0,
  }
  opened.set(key, entry)
  ++entry.users
  const leave = async () => {
    if (--entry.users > 0) return
    if (opened.get(key) === entry) opened.delete(key)
    const device = await entry.device.catch(() => undefined) // it was never opened; who asked for it has seen why
    await device?.dispose()
  }
  try {
    const device = await entry.device
    let released: Promise<void> | undefined
    const release = () => {
      released ??= leave()
      return released
    }
    return { name: `cuda:${index}`, device, release }
  } catch (error) {
    await leave()
    throw error
  }
}
