// `npm run sanitize`: the native tests under AddressSanitizer with UBSan (build-asan) and ThreadSanitizer (build-tsan), the
// fuzzers under the former, and under both the CUDA backend on its simulated device, where its toolchain can be had. First
// it shows that each sanitizer is on: programs that commit a fault on purpose must die of it.
// Arguments: names of sanitizers ('address', 'thread') to run only those; --runs N sets the fuzzers' mutants.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { cmakeCacheFile, cudaToolchain, ToolchainUnavailable, writeCMakeCache } from './cuda-toolchain.mjs'
import { fail, must, root } from './setup.mjs'
import { ensureToolchain } from './toolchain.mjs'

const passes = [
  {
    name: 'address',
    flags: 'address,undefined',
    dir: 'build-asan',
    controls: { address: 'AddressSanitizer', undefined: 'runtime error' },
    fuzz: true,
    // Tests of test/cuda and the names of their cases: each kind of work once, whole networks at the size that takes seconds.
    cuda: {
      backend_test: [],
      failures_test: [],
      networks_test: [
        'resnet18 in float16',
        'pixels in',
        'lanes side by side',
        'cancelled',
        'little memory',
        'lost',
      ],
    },
  },
  {
    name: 'thread',
    flags: 'thread',
    dir: 'build-tsan',
    controls: { thread: 'ThreadSanitizer' },
    fuzz: false,
    // What threads share, in networks that take seconds.
    cuda: {
      'controls/order_control': ['right'],
      concurrency_test: [],
      backend_test: [],
      failures_test: [],
      pictures_test: [],
      schedule_test: [],
      networks_test: ['several callers', 'lanes side by side', 'cancelled', 'little memory', 'lost'],
    },
    // Programs of test/cuda/controls, each with an argument: of wrong use of CUDA, and of the backend with a fault, by a case
    // of concurrency_test that shows it.
    cudaControls: [
      ['order_control', 'overwrite'],
      ['order_control', 'stream'],
      ['order_control', 'event'],
      ['order_control', 'host-function'],
      ['no_lock_in_completion', 'two lanes'],
      ['no_lock_in_lane', 'two lanes'],
      ['no_lock_in_program', 'two lanes'],
      ['no_wait_for_slot', 'two lanes'],
      ['no_lock_in_memory', 'tensors'],
    ],
  },
]

const environment = {
  ASAN_OPTIONS: 'detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1',
  UBSAN_OPTIONS: 'print_stacktrace=1',
  TSAN_OPTIONS: 'halt_on_error=1:second_deadlock_stack=1',
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { runs: { type: 'string', default: '20000' } },
})
for (const name of positionals) {
  if (!passes.some((pass) => pass.name === name)) {
    fail(`Unknown sanitizer '${name}', expected ${passes.map((pass) => `'${pass.name}'`).join(' or ')}.`)
  }
}
if (process.platform === 'win32') fail('The sanitizers need GCC or Clang: run this on Linux or macOS.')

const total = { passed: 0, failed: 0, skipped: [] }
const nativeTests = path.join(root, 'test', 'native')

const namesIn = (folder, ending) =>
  readdirSync(folder)
    .filter((file) => file.endsWith(`${ending}.cc`))
    .map((file) => file.slice(0, -'.cc'.length))
    .sort()

/** CMake's arguments for the CUDA backend on its simulated device; none, and a skip by name, without the toolchain. */
function simulatedCuda({ name, cuda }) {
  const without = ['-DRESNET_CUDA_SIMULATED=OFF']
  if (cuda === undefined) return without
  try {
    writeCMakeCache(cudaToolchain({ log: () => {} }))
    return ['-C', cmakeCacheFile, '-DRESNET_CUDA_SIMULATED=ON']
  } catch (error) {
    if (!(error instanceof ToolchainUnavailable)) throw error
    total.skipped.push(`the CUDA backend [${name}]: its toolchain cannot be had: ${error.message}`)
    return without
  }
}

/** Builds what the pass runs. Answers whether the simulated device is in it. */
function build(pass) {
  const { name, flags, dir, fuzz, cuda, cudaControls = [] } = pass
  const folder = path.join(root, dir)
  const cache = path.join(folder, 'CMakeCache.txt')
  // A cache of another checkout (a copied folder) would build that one's sources.
  if (existsSync(cache) && !readFileSync(cache, 'utf8').includes(`CMAKE_HOME_DIRECTORY:INTERNAL=${root}\n`)) {
    rmSync(folder, { recursive: true })
  }
  console.log(`\n${name}: building in ${dir} with -fsanitize=${flags} …`)
  // Debug keeps the asserts; the sanitizer's own flags come after it and raise the optimisation.
  const simulated = simulatedCuda(pass)
  const options = ['-DRESNET_TESTS=ON', `-DRESNET_SANITIZE=${flags}`, '-DCMAKE_BUILD_TYPE=Debug']
  must('Configuring', 'cmake', [...simulated, ...options, '-S', root, '-B', folder], { quiet: true })
  const withCuda = simulated.includes('-DRESNET_CUDA_SIMULATED=ON')
  const targets = [
    'sanitizer_control',
    ...namesIn(nativeTests, '_test'),
    ...(fuzz ? namesIn(path.join(nativeTests, 'fuzz'), '_fuzz') : []),
    ...(withCuda
      ? [...Object.keys(cuda).map((name) => path.basename(name)), ...cudaControls.map(([program]) => program)]
      : []),
  ].flatMap((target) => ['--target', target])
  const parallel = ['--parallel', String(availableParallelism())]
  must('Building', 'cmake', ['--build', folder, ...parallel, ...targets], { quiet: true })
  return withCuda
}

function start(dir, program, args, folder = 'native') {
  const started = performance.now()
  const tests = path.join(root, dir, 'test')
  const child = spawnSync(path.join(tests, folder, program), args, {
    cwd: root,
    // A sanitizer opens libraries in a program's stead, and looks beside itself: the simulated cuDNN must be found by its name.
    env: { ...process.env, ...environment, LD_LIBRARY_PATH: path.join(tests, 'cuda') },
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  })
  if (child.error) fail(`Could not start '${program}': ${child.error.message}`)
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  return { ...child, output: `${child.stdout}${child.stderr}`, seconds }
}

/** Counts one program; shows its output when it failed. */
function runProgram(pass, program, args, folder) {
  const { status, signal, output, seconds } = start(pass.dir, program, args, folder)
  const [, passed, failed] = /^(\d+) passed, (\d+) failed/m.exec(output) ?? [undefined, 0, 1]
  const good = status === 0
  total.passed += Number(passed)
  total.failed += good ? 0 : Math.max(1, Number(failed))
  for (const [, skip] of output.matchAll(/^skipped:? +(.*)$/gim))
    total.skipped.push(`${program} [${pass.name}]: ${skip}`)
  if (!good) process.stdout.write(output)
  const how = good ? `${passed} passed` : signal ? `ended by ${signal}` : `status ${status}`
  console.log(
    `${good ? 'PASS' : 'FAIL'} ${[program, ...args].join(' ')} [${pass.flags}] (${how}, ${seconds} s)`,
  )
}

/** A fault on purpose must be reported, else the pass proves nothing. */
function runControl({ name, dir }, program, fault, report, folder) {
  const { status, output, seconds } = start(dir, program, [fault], folder)
  if (status === 0 || !output.includes(report)) {
    console.log(output)
    fail(
      `${name}: a fault on purpose ('${program} ${fault}') was not reported: the sanitizer does not see it.`,
    )
  }
  console.log(`PASS ${program} ${fault} (reported, as it must be, ${seconds} s)`)
}

ensureToolchain()
for (const pass of passes) {
  if (positionals.length > 0 && !positionals.includes(pass.name)) {
    total.skipped.push(`${pass.name}: not asked for`)
    continue
  }
  const withCuda = build(pass)
  for (const [fault, report] of Object.entries(pass.controls))
    runControl(pass, 'sanitizer_control', fault, report)
  for (const program of namesIn(nativeTests, '_test'))
    runProgram(pass, program, pass.filters?.[program] ?? [])
  if (withCuda) {
    for (const [program, fault] of pass.cudaControls ?? [])
      runControl(pass, program, fault, 'ThreadSanitizer: data race', 'cuda/controls')
    for (const [program, cases] of Object.entries(pass.cuda)) runProgram(pass, program, cases, 'cuda')
  }
  if (!pass.fuzz) continue
  for (const program of namesIn(path.join(nativeTests, 'fuzz'), '_fuzz'))
    runProgram(pass, program, ['--runs', values.runs])
}

for (const skip of total.skipped) console.log(`skipped ${skip}`)
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped.length} skipped`)
process.exit(total.failed > 0 ? 1 : 0)
