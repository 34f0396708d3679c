// What building the CUDA backend needs: nvcc with its headers and static runtime, the headers of cuDNN, those of
// cudnn-frontend, a recent CMake. Each is taken from this machine where it is installed and new enough; the others come
// as pinned Python wheels (cuda/toolchain.json) into a private folder outside the checkout, once. No root, no system change.
//   node scripts/cuda-toolchain.mjs     finds or fetches, prints what and where, writes build-cuda/toolchain.cmake
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { fail, root } from './setup.mjs'

/** The exit status of whoever finds that the toolchain cannot be had: EX_UNAVAILABLE of sysexits.h. */
export const unavailableStatus = 69

/** Why the toolchain can neither be found nor fetched; the message says what to do. */
export class ToolchainUnavailable extends Error {}

export const buildDir = path.join(root, 'build-cuda')
/** What CMake is told, for its -C. */
export const cmakeCacheFile = path.join(buildDir, 'toolchain.cmake')

const { packages } = JSON.parse(readFileSync(path.join(root, 'cuda', 'toolchain.json'), 'utf8'))
const minimumNvcc = [12, 8]
const minimumCMake = [4, 0]
const cudnnMajor = 9
// From 1.19 on cudnn-frontend wants libnvrtc at link time.
const frontendVersion = [1, 18]

const environment = (name) => process.env[name] || undefined
const atLeast = (version, minimum) =>
  version[0] > minimum[0] || (version[0] === minimum[0] && version[1] >= minimum[1])

function output(command, args) {
  const child = spawnSync(command, args, { encoding: 'utf8' })
  return child.status === 0 ? child.stdout : undefined
}

/** The first folder that `accept` takes; its refusals go to `refused`. */
function firstOf(folders, accept, refused) {
  for (const folder of new Set(folders.filter((name) => name !== undefined))) {
    if (!existsSync(folder)) continue
    const found = accept(folder)
    if (typeof found !== 'string') return found
    refused.push(found)
  }
  return undefined
}

/** A toolkit's folder: bin/nvcc, include, lib64 with the static runtime. */
function acceptToolkit(folder) {
  const nvcc = path.join(folder, 'bin', 'nvcc')
  if (!existsSync(nvcc)) return `no nvcc in ${folder}`
  const version = /release (\d+)\.(\d+)/
    .exec(output(nvcc, ['--version']) ?? '')
    ?.slice(1, 3)
    .map(Number)
  if (!version) return `${nvcc} does not say its version`
  if (!atLeast(version, minimumNvcc))
    return `${nvcc} is ${version.join('.')}, ${minimumNvcc.join('.')} is needed`
  const include = path.join(folder, 'include')
  if (!existsSync(path.join(include, 'cuda_runtime_api.h'))) return `no cuda_runtime_api.h in ${include}`
  const libraries = ['lib64', 'lib', 'targets/x86_64-linux/lib'].map((name) => path.join(folder, name))
  if (!libraries.some((name) => existsSync(path.join(name, 'libcudart_static.a'))))
    return `no libcudart_static.a in ${folder}`
  return { nvcc, include, version: version.join('.') }
}

function macro(file, name) {
  return Number(new RegExp(`#define\\s+${name}\\s+(\\d+)`).exec(readFileSync(file, 'utf8'))?.[1])
}

function acceptCudnn(include) {
  const file = path.join(include, 'cudnn_version.h')
  if (!existsSync(file)) return `no cudnn_version.h in ${include}`
  const version = ['MAJOR', 'MINOR', 'PATCHLEVEL'].map((part) => macro(file, `CUDNN_${part}`))
  if (version[0] !== cudnnMajor) return `${file} is of cuDNN ${version.join('.')}, ${cudnnMajor} is needed`
  const library = ['../lib', '../lib64', '../lib/x86_64-linux-gnu', '../../lib/x86_64-linux-gnu']
    .map((name) => path.join(include, name, `libcudnn.so.${cudnnMajor}`))
    .find((name) => existsSync(name))
  return { include, library, version: version.join('.') }
}

function acceptFrontend(include) {
  const file = path.join(include, 'cudnn_frontend_version.h')
  if (!existsSync(file)) return `no cudnn_frontend_version.h in ${include}`
  const version = ['MAJOR', 'MINOR', 'PATCH'].map((part) => macro(file, `CUDNN_FRONTEND_${part}_VERSION`))
  if (version[0] !== frontendVersion[0] || version[1] !== frontendVersion[1])
    return `${file} is ${version.join('.')}, ${frontendVersion.join('.')} is needed`
  return { include, version: version.join('.') }
}

/** A CMake on the PATH that knows nvcc 13 and C++20 in CUDA. */
function acceptCMake(command) {
  const version = /version (\d+)\.(\d+)\.?(\d*)/.exec(output(command, ['--version']) ?? '')?.slice(1, 4)
  if (!version) return `${command} does not start`
  if (!atLeast(version.map(Number), minimumCMake))
    return `${command} is ${version.join('.')}, ${minimumCMake.join('.')} is needed for CUDA`
  return { command, version: version.join('.') }
}

/** What this machine has, by part; a part that is missing is absent, and `refused` says what was looked at. */
function installed(refused) {
  const nvccOnPath = output('sh', ['-c', 'command -v nvcc'])?.trim()
  const toolkits = [
    environment('CUDA_HOME'),
    environment('CUDA_PATH'),
    nvccOnPath && path.dirname(path.dirname(realpathSync(nvccOnPath))),
    '/usr/local/cuda',
  ]
  const nvcc = firstOf(toolkits, acceptToolkit, refused)
  const below = (folder) => (folder === undefined ? [] : [path.join(folder, 'include'), folder])
  const cudnnFolders = [
    ...below(environment('CUDNN_PATH')),
    nvcc?.include,
    '/usr/include/x86_64-linux-gnu',
    '/usr/include',
    '/usr/local/include',
  ]
  const cudnn = firstOf(cudnnFolders, acceptCudnn, [])
  const frontend = firstOf(
    [...below(environment('CUDNN_FRONTEND_PATH')), cudnn?.include, '/usr/include', '/usr/local/include'],
    acceptFrontend,
    [],
  )
  const onPath = output('sh', ['-c', 'command -v cmake'])?.trim()
  const cmake = firstOf([onPath], acceptCMake, refused)
  return { nvcc, cudnn, frontend, cmake }
}

/** The folder of private environments; outside the checkout, so that a second clone downloads nothing. */
export function cacheFolder() {
  return path.resolve(
    environment('RESNET_CUDA_HOME') ??
      path.join(environment('XDG_CACHE_HOME') ?? path.join(homedir(), '.cache'), 'resnet', 'cuda'),
  )
}

// cudnn-frontend's wheels differ by Python version, and its headers alone are wanted: one wheel for whatever Python runs pip.
const platforms = ['2_28', '2_27', '2_17', '2_12'].map((glibc) => `manylinux_${glibc}_x86_64`)
const wheelTags = [
  ...[...platforms, 'manylinux2014_x86_64', 'manylinux2010_x86_64'].flatMap((name) => ['--platform', name]),
  ...['--implementation', 'cp', '--python-version', '3.11', '--abi', 'cp311', '--abi', 'none'],
]

/** A Python with pip: a virtual environment's where venv works, else the machine's own pip. */
function pip(folder) {
  const python = ['python3', 'python'].find(
    (name) => output(name, ['-c', 'import sys; assert sys.version_info >= (3, 8)']) !== undefined,
  )
  if (!python) throw new ToolchainUnavailable('there is no Python 3.8 or newer to fetch it with (python3)')
  const venv = path.join(folder, 'venv')
  const own = path.join(venv, 'bin', 'python')
  if (
    spawnSync(python, ['-m', 'venv', venv], { encoding: 'utf8' }).status === 0 &&
    output(own, ['-m', 'pip', '--version'])
  )
    return own
  if (output(python, ['-m', 'pip', '--version'])) return python
  throw new ToolchainUnavailable(
    'Python is there without venv and pip (on Debian and Ubuntu: apt-get install python3-venv)',
  )
}

/** Why pip failed. Where it could not connect its last line says that no version was found; what it warned of says why. */
function pipReason(said) {
  const last =
    said
      .trim()
      .split('\n')
      .at(-1)
      ?.replace(/^ERROR: /, '') || 'no message'
  const broken = /after connection broken by '(.*)': \S+$/m.exec(said)?.[1]
  const cause = broken?.replace(/^.*> ?[:,] ?|^\w+\(|['")]+$/g, '')
  return cause ? `${last} (the package index did not answer: ${cause})` : last
}

/** Puts the wheels into `folder`, whole or not at all: two processes may do it at once. */
function fetch(wanted, folder) {
  let staging
  try {
    mkdirSync(path.dirname(folder), { recursive: true })
    staging = mkdtempSync(`${folder}.part-`)
    const python = pip(staging)
    const list = path.join(staging, 'requirements.txt')
    const lines = wanted.map(({ name, version, sha256 }) => `${name}==${version} --hash=sha256:${sha256}`)
    writeFileSync(list, `${lines.join('\n')}\n`)
    const target = path.join(staging, 'packages')
    const quiet = ['--quiet', '--no-cache-dir', '--disable-pip-version-check', '--no-input', '--retries=2']
    const pinned = [
      '--no-deps',
      '--no-compile',
      '--only-binary=:all:',
      '--require-hashes',
      '--requirement',
      list,
    ]
    const child = spawnSync(
      python,
      ['-m', 'pip', 'install', ...quiet, ...pinned, '--target', target, ...wheelTags],
      { encoding: 'utf8' },
    )
    if (child.status !== 0)
      throw new ToolchainUnavailable(`pip could not fetch it: ${pipReason(`${child.stderr}`)}`)
    link(target)
    try {
      renameSync(target, folder)
    } catch (error) {
      // Another process was faster.
      if (!existsSync(folder)) throw error
    }
  } catch (error) {
    if (error instanceof ToolchainUnavailable) throw error
    throw new ToolchainUnavailable(`it could not be put into ${folder}: ${error.message}`)
  } finally {
    if (staging) rmSync(staging, { recursive: true, force: true })
  }
}

/** The wheels leave out what CMake looks for. */
function link(folder) {
  const toolkit = path.join(folder, 'nvidia', 'cu13')
  if (!existsSync(path.join(toolkit, 'bin', 'nvcc'))) return
  symlinkSync('lib', path.join(toolkit, 'lib64'))
  symlinkSync('libcudart.so.13', path.join(toolkit, 'lib', 'libcudart.so'))
}

function fromFetched(folder, part) {
  const refusals = []
  const accept = {
    nvcc: () => firstOf([path.join(folder, 'nvidia', 'cu13')], acceptToolkit, refusals),
    cudnn: () => firstOf([path.join(folder, 'nvidia', 'cudnn', 'include')], acceptCudnn, refusals),
    frontend: () => firstOf([path.join(folder, 'include')], acceptFrontend, refusals),
    cmake: () => firstOf([path.join(folder, 'cmake', 'data', 'bin', 'cmake')], acceptCMake, refusals),
  }
  const found = accept[part]()
  if (!found)
    throw new ToolchainUnavailable(`${folder} is damaged (${refusals.join('; ')}): remove it and run again`)
  return found
}

/**
 * Finds or fetches the toolchain. RESNET_CUDA_FETCH: 'missing' (default) fetches what is not installed, 'always' fetches
 * everything, 'never' nothing. Throws ToolchainUnavailable.
 */
export function cudaToolchain({ log = console.log } = {}) {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new ToolchainUnavailable(
      `the CUDA backend is built on Linux x64 only, this is ${process.platform} ${process.arch}`,
    )
  const mode = environment('RESNET_CUDA_FETCH') ?? 'missing'
  if (!['missing', 'always', 'never'].includes(mode))
    fail(`RESNET_CUDA_FETCH: expected 'missing', 'always' or 'never', received '${mode}'.`)
  const refused = []
  const found = mode === 'always' ? {} : installed(refused)
  const parts = ['nvcc', 'cudnn', 'frontend', 'cmake']
  const missing = parts.filter((part) => !found[part])
  if (missing.length > 0) {
    for (const reason of refused) log(`Not used: ${reason}.`)
    const wanted = packages.filter(({ part }) => missing.includes(part))
    if (mode === 'never')
      throw new ToolchainUnavailable(
        `${missing.join(', ')} not installed, and RESNET_CUDA_FETCH=never forbids to fetch`,
      )
    const digest = createHash('sha256')
      .update(JSON.stringify(wanted.map(({ sha256 }) => sha256)))
      .digest('hex')
      .slice(0, 12)
    const folder = path.join(cacheFolder(), digest)
    if (!existsSync(folder)) {
      log(`Fetching ${missing.join(', ')} for CUDA as Python wheels into ${folder} (once; up to 0.8 GB) …`)
      for (const { name, version, licence } of wanted) log(`  ${name} ${version}: ${licence}`)
      fetch(wanted, folder)
      log(
        'Their licence texts are in the *.dist-info folders there. Nothing of it enters the package but what is linked:',
      )
      log("the static CUDA runtime, which NVIDIA's EULA lets applications carry.")
    }
    for (const part of missing) found[part] = { ...fromFetched(folder, part), fetched: true }
  }
  const whence = (part) => (part.fetched ? 'private' : 'installed')
  log(`nvcc ${found.nvcc.version} (${whence(found.nvcc)}): ${found.nvcc.nvcc}`)
  log(`cuDNN ${found.cudnn.version} (${whence(found.cudnn)}): ${found.cudnn.include}`)
  log(`cudnn-frontend ${found.frontend.version} (${whence(found.frontend)}): ${found.frontend.include}`)
  log(`CMake ${found.cmake.version} (${whence(found.cmake)}): ${found.cmake.command}`)
  return found
}

export function writeCMakeCache({ nvcc, cudnn, frontend }) {
  mkdirSync(buildDir, { recursive: true })
  const text = [
    `set(CMAKE_CUDA_COMPILER "${nvcc.nvcc}" CACHE FILEPATH "" FORCE)`,
    `set(RESNET_CUDA_INCLUDE "${nvcc.include}" CACHE PATH "" FORCE)`,
    `set(RESNET_CUDNN_INCLUDE "${cudnn.include}" CACHE PATH "" FORCE)`,
    `set(RESNET_CUDNN_FRONTEND_INCLUDE "${frontend.include}" CACHE PATH "" FORCE)`,
    '',
  ].join('\n')
  if (!existsSync(cmakeCacheFile) || readFileSync(cmakeCacheFile, 'utf8') !== text)
    writeFileSync(cmakeCacheFile, text)
}

/** cudaToolchain(), or one message and the exit status that says that the machine is at fault. */
export function cudaToolchainOrExit(options) {
  try {
    return cudaToolchain(options)
  } catch (error) {
    if (!(error instanceof ToolchainUnavailable)) throw error
    console.error(
      `\nThe CUDA toolchain cannot be had: ${error.message}.\n` +
        `Install a CUDA toolkit ${minimumNvcc.join('.')} or newer and cuDNN ${cudnnMajor} and set CUDA_HOME and CUDNN_PATH, or give Python 3\n` +
        'with venv and a package index; docs/cuda-build.md says more. The CPU backend does not need any of it.',
    )
    process.exit(unavailableStatus)
  }
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  writeCMakeCache(cudaToolchainOrExit())
  console.log(`Wrote ${cmakeCacheFile}`)
}
