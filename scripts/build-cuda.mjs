// `npm run build:cuda`: libresnet_cuda.so, the CUDA backend, for cards from Turing to Blackwell, unless it is there
// already, made from these very sources. The toolchain is found or fetched (cuda-toolchain.mjs); where it cannot be had the
// exit status is 69. The library lands in build-cuda/ and beside the addon in build/Release, where a checkout looks for it.
// `--force` builds in any case; `--device` also builds what scripts/gpu-check runs: the probe, the kernels' test on a device.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { buildDir, cmakeCacheFile, cudaToolchainOrExit, writeCMakeCache } from './cuda-toolchain.mjs'
import { fail, must, root } from './setup.mjs'
import { ensureToolchain } from './toolchain.mjs'

const library = path.join(buildDir, 'libresnet_cuda.so')
const besideAddon = path.join(root, 'build', 'Release', 'libresnet_cuda.so')
const stamp = path.join(buildDir, 'sources.sha256')
const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))

// All that the library may ask of a machine: the C library's parts. Driver and cuDNN are opened by name.
const neededAllowed = /^(libc|libm|libgcc_s|libpthread|librt|libdl|ld-linux-x86-64)\.so\.\d+$/

const entryPoint = 'resnetPlugin'

function files(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath ?? entry.path, entry.name))
}

/** Digest of all that goes into the library: sources, build files, toolchain, compiler settings. */
function digest(toolchain) {
  const hash = createHash('sha256')
  for (const file of [...files(path.join(root, 'cuda')), ...files(path.join(root, 'native', 'core'))].sort())
    hash.update(path.relative(root, file)).update('\0').update(readFileSync(file)).update('\0')
  for (const name of ['CXX', 'CXXFLAGS', 'CUDAFLAGS', 'LDFLAGS', 'CUDAARCHS'])
    hash.update(`${name}=${process.env[name] ?? ''}\0`)
  return hash.update(version).update(JSON.stringify(toolchain)).digest('hex')
}

/** CMake refuses a cache that was made in another place or with another compiler. */
function dropForeignCache({ nvcc }) {
  const cache = path.join(buildDir, 'CMakeCache.txt')
  if (!existsSync(cache)) return
  const text = readFileSync(cache, 'utf8')
  const entry = (name) => new RegExp(`^${name}:\\w+=(.*)$`, 'm').exec(text)?.[1]
  if (entry('CMAKE_HOME_DIRECTORY') === path.join(root, 'cuda') && entry('CMAKE_CUDA_COMPILER') === nvcc.nvcc)
    return
  rmSync(cache)
  rmSync(path.join(buildDir, 'CMakeFiles'), { recursive: true, force: true })
}

function readelf(args) {
  const child = spawnSync('readelf', ['--wide', ...args, library], { encoding: 'utf8', maxBuffer: 64 << 20 })
  if (child.status !== 0) fail(`readelf could not read ${library}: ${child.error?.message ?? child.stderr}`)
  return child.stdout
}

/** What the library asks for and shows: nothing but the C library, nothing but the plugin's table. */
function checkLibrary() {
  const needed = [...readelf(['--dynamic']).matchAll(/\(NEEDED\).*\[(.+)\]/g)].map((match) => match[1])
  const strange = needed.filter((name) => !neededAllowed.test(name))
  if (strange.length > 0)
    fail(`${library} asks for ${strange.join(', ')}; it must carry or open by name what is not libc's.`)
  const symbols = readelf(['--dyn-syms'])
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
  const shown = symbols
    .filter(
      ([, , , , bind, visibility, section, name]) =>
        name && bind !== 'LOCAL' && visibility === 'DEFAULT' && section !== 'UND',
    )
    .map((fields) => fields[7].split('@')[0])
  if (!shown.includes(entryPoint))
    fail(`${library} does not show ${entryPoint}, by which the addon opens it.`)
  const foreign = shown.filter((name) => !/^resnet/.test(name))
  if (foreign.length > 0)
    fail(`${library} shows symbols that are not the plugin's: ${foreign.slice(0, 5).join(', ')}.`)
  return shown
}

function build(toolchain) {
  writeCMakeCache(toolchain)
  dropForeignCache(toolchain)
  const cmake = toolchain.cmake.command
  // The cache would keep an earlier run's choice.
  const architectures = process.env.CUDAARCHS
    ? [`-DCMAKE_CUDA_ARCHITECTURES=${process.env.CUDAARCHS}`]
    : ['-UCMAKE_CUDA_ARCHITECTURES']
  must(
    'Configuring the CUDA backend',
    cmake,
    [
      '-C',
      cmakeCacheFile,
      ...architectures,
      '-DRESNET_CUDA_DEVICE=OFF',
      '-S',
      path.join(root, 'cuda'),
      '-B',
      buildDir,
    ],
    {
      quiet: true,
    },
  )
  must(
    'Building the CUDA backend',
    cmake,
    ['--build', buildDir, '--parallel', String(availableParallelism())],
    { quiet: true },
  )
  if (!existsSync(library))
    fail(`The build ended without error, yet ${path.relative(root, library)} is not there.`)
}

/** In the same folder, from the same objects. */
function buildForDevice({ cmake }) {
  const programs = ['resnet_gpu_probe', 'device_kernels_test']
  must('Configuring the programs of gpu-check', cmake.command, ['-DRESNET_CUDA_DEVICE=ON', buildDir], {
    quiet: true,
  })
  must(
    'Building the programs of gpu-check',
    cmake.command,
    ['--build', buildDir, '--parallel', String(availableParallelism()), '--target', ...programs],
    { quiet: true },
  )
  console.log(`${programs.join(' and ')} are in ${path.relative(root, buildDir)}/.`)
}

const toolchain = cudaToolchainOrExit()
const wanted = digest(toolchain)
const fresh = existsSync(library) && existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted
if (fresh && !process.argv.includes('--force')) {
  console.log('The CUDA backend is up to date.')
} else {
  ensureToolchain()
  console.log('Building the CUDA backend (some minutes) …')
  const started = performance.now()
  build(toolchain)
  const shown = checkLibrary()
  writeFileSync(stamp, wanted)
  const seconds = ((performance.now() - started) / 1000).toFixed(0)
  const megabytes = (statSync(library).size / 1e6).toFixed(2)
  console.log(
    `${path.relative(root, library)}: ${megabytes} MB in ${seconds} s, shows ${shown.join(', ') || 'nothing'}`,
  )
}
const copied = existsSync(besideAddon) && readFileSync(besideAddon).equals(readFileSync(library))
if (!copied) {
  mkdirSync(path.dirname(besideAddon), { recursive: true })
  copyFileSync(library, besideAddon)
  console.log(`Copied to ${path.relative(root, besideAddon)}, where the addon of this checkout looks.`)
}
if (process.argv.includes('--device')) buildForDevice(toolchain)
