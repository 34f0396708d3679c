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

/** Runs a command under a tool; `faults` are those that it counted, undefined where it came to no summary. */
function sanitize(tool, seconds, command, args, options = []) {
  const run = spawnSync(program, ['--tool', tool, '--print-limit', '5', ...options, command, ...args], {
    encoding: 'utf8',
    timeout: seconds * 1000,
    killSignal: 'SIGKILL',
    maxBuffer: 64 << 20,
  })
  const text = `${run.stdout}${run.stderr}`
  process.stderr.write(text.slice(-6000))
  const refused = /.*(Device not supported|Failed to initialize|not supported on this).*/i.exec(text)
  if (refused) unavailable(`compute-sanitizer refuses this machine: ${refused[0].trim()}`)
  const counted = /(?:ERROR|RACECHECK) SUMMARY: (\d+) .*/.exec(text)
  return {
    status: run.status,
    summary: counted?.[0],
    faults: counted === null ? undefined : Number(counted[1]),
    timedOut: run.error?.code === 'ETIMEDOUT',
  }
}

function check(name, { status, summary, faults, timedOut }) {
  if (timedOut) return report('note', { text: `${name}: stopped by its time, nothing shown` })
  report('check', {
    name,
    good: status === 0 && faults === 0,
    detail: summary ?? `exit status ${status}, no summary`,
  })
}

const kernels = binaryOf('device_kernels_test')
if (kernels === undefined) unavailable('device_kernels_test was not built or not carried')

const planted = sanitize('memcheck', 15, kernels, ['--exact', '--plant'])
report('check', {
  name: 'memcheck finds a read past the end that is made on purpose',
  good: planted.faults > 0,
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
// cuDNN asks the driver for what a device may not have, and expects to be refused.
const network = [path.join(here, 'one-network.mjs'), '--mode', 'full']
check(
  'memcheck, resnet18 float16 batch 2, whole',
  sanitize('memcheck', 40, process.execPath, network, ['--report-api-errors', 'no']),
)
