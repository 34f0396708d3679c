import { existsSync } from 'node:fs'
import path from 'node:path'
import type { Binding, Plugin, Probe } from '../../binding.js'
import { packageRoot } from '../root.js'

/** The package that carries the CUDA backend; npm installs it beside this one. */
export const cudaPackage = 'resnet-cuda-linux-x64'
const libraryName = 'libresnet_cuda.so'

/** The CUDA backend of this machine, or why there is none that works. */
export interface CudaBackend {
  /** Present when a library was opened, also when no device can be used. */
  plugin?: Plugin
  /** What it found. */
  probe?: Probe
  /** Why no device can be used, with the fix; '' when one can. */
  reason: string
  /** Every place that was looked at, and what was there. */
  tried: { path: string; outcome: string }[]
}

const known = new Map<string, Promise<CudaBackend>>()

/**
 * Finds and opens the CUDA backend, once per thread: RESNET_CUDA_PLUGIN alone when it is set, else the library beside the
 * addon, then the package. Never rejects.
 */
export function cudaBackend(binding: Binding): Promise<CudaBackend> {
  const wish = process.env.RESNET_CUDA_PLUGIN ?? ''
  const found = known.get(wish) ?? findBackend(binding, wish)
  known.set(wish, found)
  return found
}

async function findBackend(binding: Binding, wish: string): Promise<CudaBackend> {
  const tried: CudaBackend['tried'] = []
  if (wish === '' && (process.platform !== 'linux' || process.arch !== 'x64')) {
    return { reason: `CUDA needs linux-x64, this is ${process.platform}-${process.arch}`, tried }
  }
  for (const file of wish === '' ? placesFor(binding) : [wish]) {
    if (wish === '' && !existsSync(file)) {
      tried.push({ path: file, outcome: 'not there' })
      continue
    }
    // Not passed over for another when it fails: whoever put it there wants to know.
    try {
      const plugin = await binding.openPlugin({ path: path.resolve(file) })
      const probe = await plugin.probe()
      tried.push({ path: file, outcome: `${plugin.info.kind} ${plugin.info.version}` })
      return { plugin, probe, reason: probe.reason, tried }
    } catch (error) {
      const { message } = error as Error
      tried.push({ path: file, outcome: message })
      return { reason: `the CUDA backend cannot be opened: ${message}`, tried }
    }
  }
  return { reason: whyNone(binding.version, driverOf(binding)), tried }
}

/** Where the library may be, by preference: beside the addon, in the package that npm installed beside this one. */
export function placesFor(binding: Binding, root = packageRoot): string[] {
  const addonFile = fileOf(binding)
  const beside = addonFile === undefined ? [] : [path.join(path.dirname(addonFile), libraryName)]
  return [...beside, packagedLibrary(root)]
}

/** Where the package has it, or else would have it. */
function packagedLibrary(root: string): string {
  try {
    return require.resolve(`${cudaPackage}/${libraryName}`, { paths: [root] })
  } catch {
    return path.join(root, '..', cudaPackage, libraryName)
  }
}

/** Why there is no backend, and the one command where a GPU waits for it. `driver`: where NVIDIA's driver was seen, '' nowhere. */
export function whyNone(version: string, driver: string): string {
  if (driver !== '') {
    return `an NVIDIA driver is here (${driver}), the package with the CUDA backend is not; npm install ${cudaPackage}@${version}`
  }
  const signs = ['libcuda.so.1', ...driverDevices].join(', ')
  return `no NVIDIA driver on this machine (none of ${signs}), and no package ${cudaPackage}`
}

/** What NVIDIA's own driver makes, and that of Windows below WSL. */
const driverDevices = ['/dev/nvidiactl', '/dev/dxg']

function driverOf(binding: Binding): string {
  return driverDevices.find((file) => existsSync(file)) ?? binding.nvidiaDriver()
}

/** Where Node loaded the addon from. */
export function fileOf(binding: Binding): string | undefined {
  return Object.keys(require.cache).find((file) => require.cache[file]?.exports === binding)
}
