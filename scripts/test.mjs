// `npm test`: sets up what is missing, then runs the native tests and jest. Ends with what was skipped and why, and
// the line 'N passed, N failed, N skipped'. Arguments are jest's (path patterns, -t name) and leave the native tests
// out. With CI=true a skip that this machine's kind does not excuse is a failure.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { cmakeCacheFile, unavailableStatus } from './cuda-toolchain.mjs'
import { newTotal, runNativeTest } from './native-tests.mjs'
import { bin, ensureBuilt, must, root, run } from './setup.mjs'

const strict = process.env.CI === 'true'
const jestArguments = process.argv.slice(2)
const total = newTotal()
const noToolchain = 'the CUDA backend: its toolchain cannot be had'

/** What a skip may name as its reason, and whether this machine really lacks it. */
const excuses = [
  [/avx-?512/i, () => !cpuHas('avx512f')],
  [/avx-?2/i, () => !cpuHas('avx2')],
  [/\bgpu\b/i, () => !existsSync('/dev/nvidiactl')],
  [/linux only/i, () => process.platform !== 'linux' || process.arch !== 'x64'],
  // An installed toolkit is taken as it is.
  [/the list is of nvcc/, () => true],
  // Whom the benchmark measures beside us is no dependency, of nobody.
  [/needs an installed peer/, () => true],
  [/needs python 3/i, () => spawnSync('python3', ['--version']).status !== 0],
  [/the table is of cuDNN/, () => true],
  // The test itself has looked.
  [/\(skipped where /, () => true],
]

function cpuHas(flag) {
  if (!existsSync('/proc/cpuinfo')) return false
  return new RegExp(`^flags.*\\b${flag}\\b`, 'm').test(readFileSync('/proc/cpuinfo', 'utf8'))
}

// A toolchain can be had on any machine with a network, GPU or not.
const excused = (reason) =>
  !reason.startsWith(noToolchain) && excuses.some(([pattern, lacks]) => pattern.test(reason) && lacks())

/**
 * Builds the CUDA backend. Answers CMake's arguments for building it once more for a simulated device, whose tests need no
 * GPU; where the toolchain cannot be had, those for leaving it out, and says so in the list of skips.
 */
function buildCuda() {
  const without = ['-DRESNET_CUDA_SIMULATED=OFF']
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    total.skipped.push('the CUDA backend: Linux only, on x64')
    return without
  }
  console.log('')
  const status = run(process.execPath, [path.join(root, 'scripts', 'build-cuda.mjs')])
  if (status === 0) return ['-C', cmakeCacheFile, '-DRESNET_CUDA_SIMULATED=ON']
  if (status === unavailableStatus) total.skipped.push(`${noToolchain} (see above)`)
  else total.failed += 1
  return without
}

/** Built beside the addon, from the same libraries, in the build folder that building the addon has configured. */
function runNativeTests() {
  const dir = path.join(root, 'build')
  const cuda = buildCuda()
  console.log('\nBuilding the native tests …')
  must('Configuring the native tests', 'cmake', [...cuda, '-DRESNET_TESTS=ON', dir], { quiet: true })
  const build = ['--build', dir, '--config', 'Release', '--parallel', String(availableParallelism())]
  must('Building the native tests', 'cmake', build, { quiet: true })
  const simulated = cuda.includes('-DRESNET_CUDA_SIMULATED=ON')
  if (simulated) {
    const check = path.join(root, 'scripts', 'compile-check.mjs')
    runNativeTest(total, 'compile-check', process.execPath, { args: [check] })
  }
  const folders = simulated ? [['native'], ['cuda', 'kernels'], ['cuda'], ['cuda', 'device']] : [['native']]
  for (const folder of folders) {
    const sources = path.join(root, 'test', ...folder)
    if (!existsSync(sources)) continue
    const names = readdirSync(sources).filter((file) => file.endsWith('_test.cc'))
    for (const name of names.map((file) => file.slice(0, -'.cc'.length))) {
      const program = process.platform === 'win32' ? `Release/${name}.exe` : name
      runNativeTest(total, name, path.join(dir, 'test', folder[0], program))
    }
  }
  // Of scripts/gpu-check: rehearsed on the simulated device, as device_kernels_test is.
  if (simulated) {
    runNativeTest(total, 'resnet_gpu_probe', path.join(dir, 'test', 'cuda', 'resnet_gpu_probe'), {
      args: ['--dry'],
    })
  }
}

function runJest() {
  const report = path.join(root, '.cache', 'jest.json')
  mkdirSync(path.dirname(report), { recursive: true })
  rmSync(report, { force: true })
  console.log('')
  const status = run(bin('jest'), ['--json', `--outputFile=${report}`, ...jestArguments], {
    quietStdout: true,
  })
  if (!existsSync(report)) {
    total.failed += 1
    return
  }
  const { testResults } = JSON.parse(readFileSync(report, 'utf8'))
  const cases = testResults.flatMap((file) => file.assertionResults)
  const count = (wanted) => cases.filter((test) => test.status === wanted).length
  const brokenFiles = testResults.filter(
    (file) => file.status === 'failed' && file.assertionResults.length === 0,
  ).length
  const failed = count('failed') + brokenFiles
  total.passed += count('passed')
  // A leak or a crashed worker fails jest without failing a test.
  total.failed += status !== 0 && failed === 0 ? 1 : failed
  const skipped = cases.filter((test) => ['pending', 'skipped', 'todo', 'disabled'].includes(test.status))
  total.skipped.push(...skipped.map((test) => test.fullName))
}

ensureBuilt()
if (jestArguments.length === 0) runNativeTests()
else total.skipped.push('the native tests: jest arguments were given')
runJest()

const unexcused = strict ? total.skipped.filter((reason) => !excused(reason)) : []
if (total.skipped.length > 0)
  console.log(`\nSkipped:\n${total.skipped.map((reason) => `  ${reason}`).join('\n')}`)
if (unexcused.length > 0)
  console.log(`\nSkipped though this machine can run it:\n  ${unexcused.join('\n  ')}`)
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped.length} skipped`)
process.exit(total.failed === 0 && unexcused.length === 0 ? 0 : 1)
