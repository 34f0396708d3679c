// `npm test`: sets up what is missing, then runs the native tests and jest. Ends with what was skipped and why, and
// the line 'N passed, N failed, N skipped'. Arguments are jest's (path patterns, -t name) and leave the native tests
// out. With CI=true a skip that this machine's kind does not excuse is a failure.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { bin, ensureBuilt, must, root, run } from './setup.mjs'

const strict = process.env.CI === 'true'
const jestArguments = process.argv.slice(2)
const total = { passed: 0, failed: 0, skipped: [] }

/** What a skip may name as its reason, and whether this machine really lacks it. */
const excuses = [
  [/avx-?512/i, () => !cpuHas('avx512f')],
  [/avx-?2/i, () => !cpuHas('avx2')],
  [/cuda|gpu/i, () => !existsSync('/dev/nvidiactl')],
  [/linux only/i, () => process.platform !== 'linux'],
]

function cpuHas(flag) {
  if (!existsSync('/proc/cpuinfo')) return false
  return new RegExp(`^flags.*\\b${flag}\\b`, 'm').test(readFileSync('/proc/cpuinfo', 'utf8'))
}

const excused = (reason) => excuses.some(([pattern, lacks]) => pattern.test(reason) && lacks())

/** Each *_test executable prints 'skipped: <case> (<reason>)' per skip and ends with 'N passed, N failed…'. */
function runNativeTest(name, file) {
  const child = spawnSync(file, [], { cwd: root, encoding: 'utf8', maxBuffer: 64 << 20 })
  const output = `${child.stdout ?? ''}${child.stderr ?? ''}`
  const count = (word) =>
    Number(new RegExp(`(\\d+) ${word}`, 'i').exec(output.split('\n').slice(-4).join('\n'))?.[1] ?? 0)
  const broken = child.status !== 0
  const failed = broken ? Math.max(1, count('failed')) : 0
  const passed = count('passed') || (broken ? 0 : 1)
  const skips = [...output.matchAll(/^skipped:? +(.*)$/gim)].map((match) => `${name}: ${match[1]}`)
  total.passed += passed
  total.failed += failed
  total.skipped.push(...skips)
  if (broken) process.stdout.write(output)
  const end = child.signal ? `, ended by ${child.signal}` : broken ? `, status ${child.status}` : ''
  console.log(
    `${broken ? 'FAIL' : 'PASS'} ${name} (${passed} passed, ${failed} failed, ${skips.length} skipped${end})`,
  )
}

/** Built beside the addon, from the same libraries, in the build folder that building the addon has configured. */
function runNativeTests() {
  const dir = path.join(root, 'build')
  console.log('\nBuilding the native tests …')
  must('Configuring the native tests', 'cmake', ['-DRESNET_TESTS=ON', dir], { quiet: true })
  const build = ['--build', dir, '--config', 'Release', '--parallel', String(availableParallelism())]
  must('Building the native tests', 'cmake', build, { quiet: true })
  const sources = readdirSync(path.join(root, 'test', 'native')).filter((file) => file.endsWith('_test.cc'))
  for (const name of sources.map((file) => file.slice(0, -'.cc'.length))) {
    runNativeTest(
      name,
      path.join(dir, 'test', 'native', process.platform === 'win32' ? `Release/${name}.exe` : name),
    )
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
