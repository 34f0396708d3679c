// Builds build/Release/resnet.node with cmake-js unless it is there already, made from these very sources. Downloads
// nothing: the headers come from node-api-headers and node-addon-api. `--force` builds in any case.
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { bin, ensureDependencies, fail, must, root } from './setup.mjs'
import { ensureToolchain } from './toolchain.mjs'

const buildDir = path.join(root, 'build')
const addon = path.join(buildDir, 'Release', 'resnet.node')
const stamp = path.join(buildDir, 'sources.sha256')

function sources(dir) {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const file = path.join(dir, entry.name)
    return entry.isDirectory() ? sources(file) : [file]
  })
}

/** Digest of all that goes into the addon: sources, build file, versions, compiler settings. */
function digest() {
  const hash = createHash('sha256')
  const files = [
    'CMakeLists.txt',
    'package.json',
    'node_modules/node-addon-api/package.json',
    'node_modules/cmake-js/package.json',
  ]
  for (const file of [
    ...files.map((name) => path.join(root, name)),
    ...sources(path.join(root, 'native')).sort(),
  ]) {
    hash.update(path.relative(root, file)).update('\0').update(readFileSync(file)).update('\0')
  }
  for (const name of ['CXX', 'CXXFLAGS', 'LDFLAGS']) hash.update(`${name}=${process.env[name] ?? ''}\0`)
  return hash.update(`${process.platform} ${process.arch}`).digest('hex')
}

/** CMake refuses a cache that was made in another place, as after moving or copying a checkout. */
function dropForeignCache() {
  const cache = path.join(buildDir, 'CMakeCache.txt')
  if (!existsSync(cache)) return
  const home = /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(readFileSync(cache, 'utf8'))?.[1]
  if (home === undefined || path.resolve(home) !== path.resolve(root)) rmSync(buildDir, { recursive: true })
}

ensureDependencies()
const wanted = digest()
const upToDate = existsSync(addon) && existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted
if (upToDate && !process.argv.includes('--force')) {
  console.log('The native addon is up to date.')
} else {
  ensureToolchain()
  dropForeignCache()
  console.log('Building the native addon …')
  const jobs = String(availableParallelism())
  must(
    'Building the native addon',
    bin('cmake-js'),
    ['build', '--target', 'resnet', '--parallel', jobs, '--log-level', 'error'],
    {
      env: { CMAKE_BUILD_PARALLEL_LEVEL: jobs },
    },
  )
  if (!existsSync(addon))
    fail(`The build ended without error, yet ${path.relative(root, addon)} is not there.`)
  writeFileSync(stamp, wanted)
}
