// compute-sanitizer over our own kernels, on memory that ends where a value ends, and over one whole network. First it must find
// a read past the end that is made on purpose.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { binaryOf } from './environment.mjs'
import { report, unavailable } from './step.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))
const places = [process.env.CUDA_HOME, process.env.CUDA_PATH, '/usr/local/cuda'].flatMap((folder) =>
  folder
    ? [
        path.join(folder, 'bin', 'compute-sanitizer'),
        path.join(folder, 'compute-sanitizer', 'compute-sanitizer'),
      ]
    : [],
)
const onPath = (process.env.PATH ?? '').split(':').map((folder) => path.join(folder, 'compute-sanitizer'))
const program = [...onPath, ...places].find((file) => existsSync(file))
if (program === undefined)
  unavailable('compute-sanitizer is not here: it comes with the CUDA toolkit (CUDA_HOME)')

const foundStatus = 9
function sanitize(tool, seconds, command, args) {
  const options = ['--tool', tool, '--error-exitcode', String(foundStatus), '--print-limit', '5']
  const run = spawnSync(program, [...options, command, ...args], {
    encoding: 'utf8',
    timeout: seconds * 1000,
    killSignal: 'SIGKILL',
    maxBuffer: 64 << 20,
  })
  const text = `${run.stdout}${run.stderr}`
  process.stderr.write(text.slice(-6000))
  if (/Device not supported|Failed to initialize|not supported on this/i.test(text)) {
    unavailable(
      `compute-sanitizer refuses this machine: ${/.*(not supported|Failed to).*/i.exec(text)[0].trim()}`,
    )
  }
  const summary = /ERROR SUMMARY: .*|RACECHECK SUMMARY: .*/.exec(text)?.[0]
  const timedOut = run.error?.code === 'ETIMEDOUT'
  return { status: run.status, summary, timedOut, text }
}

function check(name, { status, summary, timedOut }) {
  if (timedOut) report('note', { text: `${name}: stopped by its time, nothing shown` })
  else
    report('check', {
      name,
      good: status === 0 && summary !== undefined,
      detail: summary ?? `exit status ${status}`,
    })
}

const kernels = binaryOf('device_kernels_test')
if (kernels === undefined) unavailable('device_kernels_test was not built or not carried')

const planted = sanitize('memcheck', 15, kernels, ['--exact', '--plant'])
report('check', {
  name: 'memcheck finds a read past the end that is made on purpose',
  good: planted.status === foundStatus,
  detail: planted.summary ?? `exit status ${planted.status}`,
})
check(
  "memcheck, every 9th case of the kernels' table",
  sanitize('memcheck', 25, kernels, ['--exact', '--every', '9']),
)
check(
  "racecheck, every 61st case of the kernels' table",
  sanitize('racecheck', 20, kernels, ['--exact', '--every', '61']),
)
check(
  "initcheck, every 61st case of the kernels' table",
  sanitize('initcheck', 15, kernels, ['--exact', '--every', '61']),
)
const network = [path.join(here, 'one-network.mjs'), '--mode', 'full']
check('memcheck, resnet18 float16 batch 2, whole', sanitize('memcheck', 40, process.execPath, network))
