// Where things are: in a checkout that built them, or in the folder that scripts/gpu-carry.mjs packed.
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '..')

/** The Python with PyTorch, which scripts/gpu-check has found. */
export const python = () => process.env.RESNET_PYTHON ?? 'python3'

/** A native program; undefined where it was neither built nor carried. */
export function binaryOf(name) {
  // A rehearsal runs what is linked with the simulated device.
  const simulated = process.env.RESNET_CUDA_PLUGIN ? path.dirname(process.env.RESNET_CUDA_PLUGIN) : undefined
  const folders = [simulated, process.env.RESNET_GPU_BINARIES, path.join(root, 'build-cuda')]
  return folders
    .filter((folder) => folder !== undefined)
    .map((folder) => path.join(folder, name))
    .find((file) => existsSync(file))
}

let libraries
/** Folders of PyTorch's cuDNN and CUDA libraries, which our backend shares with it. */
function torchLibraries() {
  if (libraries !== undefined) return libraries
  const code =
    'import glob, os, importlib.util as u; s = u.find_spec("nvidia"); ' +
    'print(":".join(d for p in (s.submodule_search_locations if s else []) for d in glob.glob(p + "/*/lib")))'
  try {
    libraries = execFileSync(python(), ['-c', code], { encoding: 'utf8' }).trim()
  } catch {
    libraries = ''
  }
  return libraries
}

/** Of every step. Both sides use the same cuDNN; engines are kept in the run's own folder, so that nothing old is found. */
export function childEnvironment({ mode, scratch }) {
  const environment = {
    ...process.env,
    PYTHONUNBUFFERED: '1',
    PYTHONDONTWRITEBYTECODE: '1',
    XDG_CACHE_HOME: path.join(scratch, 'cache'),
    TORCHINDUCTOR_CACHE_DIR: path.join(scratch, 'inductor'),
    TRITON_CACHE_DIR: path.join(scratch, 'triton'),
  }
  // On a rehearsal's networks PyTorch's threads would mostly wait for each other.
  if (mode === 'dry') return { OMP_NUM_THREADS: '1', ...environment }
  const found = torchLibraries()
  if (found === '') return environment
  const before = process.env.LD_LIBRARY_PATH
  return { ...environment, LD_LIBRARY_PATH: before ? `${found}:${before}` : found }
}
