// What `resnet doctor` says of CUDA, and what loading a model rejects with, on machines that lack one thing or another: each
// in a process of its own, over libraries that the native tests build. docs/devices.md shows what is printed here.
import { spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

const root = path.join(__dirname, '..')
const built = process.env.RESNET_SIMULATED_FOLDER ?? path.join(root, 'build', 'test', 'cuda')
const simulated = path.join(built, 'libresnet_cuda.so')
const oldDriver = path.join(built, 'old-driver')
/** The real backend, with CUDA's own runtime inside. */
const real = path.join(root, 'build-cuda', 'libresnet_cuda.so')
const { version } = require('../package.json')

const scratch = mkdtempSync(path.join(tmpdir(), 'resnet-doctor-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

/** The machine's own CUDA is kept out of it. */
const { RESNET_CUDNN, RESNET_CUDNN_DIR, CUDNN_PATH, CUDNN_HOME, VIRTUAL_ENV, CONDA_PREFIX, ...bare } =
  process.env
const node = (args: string[], env: NodeJS.ProcessEnv) =>
  spawnSync(process.execPath, args, {
    cwd: scratch,
    env: { ...bare, XDG_CACHE_HOME: path.join(scratch, 'cache'), ...env },
    encoding: 'utf8',
  })

interface Said {
  text: string
  status: number | null
  json: { ok: boolean; problems: string[]; cuda: { available: boolean; reason: string; devices: object[] } }
}

/** What doctor prints, for people and as JSON. */
function doctor(env: NodeJS.ProcessEnv, packageFolder = root): Said {
  const main = path.join(packageFolder, 'dist', 'cli', 'main.js')
  const { stdout: text, status, stderr } = node([main, 'doctor'], env)
  expect(stderr).toBe('')
  return { text, status, json: JSON.parse(node([main, 'doctor', '--json'], env).stdout) }
}

/** How loading by name ends, and what 'auto' takes. */
function load(env: NodeJS.ProcessEnv, packageFolder = root) {
  const script = `
    const { ResNet, models } = require(${JSON.stringify(path.join(packageFolder, 'dist'))})
    const outcome = async (device) => {
      const model = await ResNet.load(models.digits, { device })
      const { device: chosen, considered } = model.explainDevice()
      await model.dispose()
      return { chosen, considered }
    }
    const refusal = ({ code, message }) => ({ code, message })
    Promise.all([outcome('cuda').catch(refusal), outcome('auto').catch(refusal)])
      .then((outcomes) => console.log(JSON.stringify(outcomes)))`
  const { stdout, stderr } = node(['-e', script], env)
  if (stdout === '') throw new Error(stderr)
  const [byName, auto] = JSON.parse(stdout)
  return { byName, auto }
}

/** One machine that cannot use CUDA: doctor, the error of a device by name, and 'auto', all with the same reason. */
function expectRefused(env: NodeJS.ProcessEnv, reason: RegExp, packageFolder = root): Said {
  const said = doctor(env, packageFolder)
  expect(said.json.cuda.available).toBe(false)
  expect(said.json.cuda.reason).toMatch(reason)
  expect(said.text).toContain(`CUDA       no: ${said.json.cuda.reason}\n`)
  const { byName, auto } = load(env, packageFolder)
  expect(byName).toEqual({
    code: 'ERR_RESNET_UNAVAILABLE',
    message: `device: 'cuda' cannot be used; ${said.json.cuda.reason}`,
  })
  expect(auto.chosen).toBe('cpu')
  expect(auto.considered[0]).toEqual({ device: 'cuda', chosen: false, reason: said.json.cuda.reason })
  return said
}

function expectProblem({ text, status, json }: Said) {
  expect(status).toBe(1)
  expect(json.problems).toHaveLength(1)
  expect(text).toContain(`Something is wrong:\n  - ${json.problems[0]}\n`)
}

const noDriver =
  /^no NVIDIA driver found \(libcuda\.so\.1\), expected an NVIDIA driver of version 580 or newer/
const driverTooOld =
  /^the NVIDIA driver supports CUDA 12\.8, expected an NVIDIA driver of version 580 or newer \(CUDA 13\.0\); update/

const hasDriver = existsSync('/dev/nvidiactl') || existsSync('/dev/dxg')
const cache = spawnSync('ldconfig', ['-p'], { encoding: 'utf8' }).stdout ?? ''
const hasCudnn = cache.includes('libcudnn.so.9') || existsSync('/usr/local/cuda/lib64/libcudnn.so.9')

const withSimulated = existsSync(simulated) ? describe : describe.skip
withSimulated('on the simulated CUDA device, doctor', () => {
  const env = { RESNET_CUDA_PLUGIN: simulated }

  test('shows a device that works, whole', () => {
    const { stdout, status } = node([path.join(root, 'dist', 'cli', 'main.js'), 'doctor'], env)
    expect(stdout.slice(stdout.indexOf('CUDA'))).toMatch(
      new RegExp(
        [
          `^CUDA {7}yes, backend ${version}`,
          ` {2}tried {4}${simulated}: cuda ${version}`,
          ' {2}driver {3}CUDA 13\\.0; runtime 13\\.0',
          ` {2}cuDNN {4}9\\.24\\.0, ${path.join(built, 'libcudnn.so.9')}`,
          ' {2}cuda:0 {3}Simulated device 0, compute capability 9\\.0, 132 SMs, 8\\.0 GiB, 8\\.0 GiB free',
          ' {2}NVML {5}13\\.580\\.0',
          ' {2}self-test passed: 10 of 10 sample digits in \\d+ ms',
          '',
          'All is well\\.\n$',
        ].join('\n'),
      ),
    )
    expect(status).toBe(0)
  }, 240_000)

  test('without a driver says so', () => {
    expectProblem(expectRefused({ ...env, RESNET_SIMULATED_DRIVER: '0' }, noDriver))
  })

  test('with a driver that is too old says which is needed', () => {
    expectProblem(expectRefused({ ...env, RESNET_SIMULATED_DRIVER: '12080' }, driverTooOld))
  })

  test('with a driver that finds no device says where to look', () => {
    const none = /^the NVIDIA driver finds no device; look at nvidia-smi and CUDA_VISIBLE_DEVICES$/
    expectProblem(expectRefused({ ...env, RESNET_SIMULATED_DEVICES: '0' }, none))
  })

  test('with a cuDNN that is too old names it, its version and the one needed', () => {
    const old =
      /^\S+\/libcudnn\.so\.9 is cuDNN 9\.1\.0, expected 9 from 9\.2\.0 on\. Install that .*pip install nvidia-cudnn-cu13/
    const said = expectRefused({ ...env, RESNET_SIMULATED_CUDNN: '90100' }, old)
    expectProblem(said)
    expect(said.text).toMatch(/ {2}cuDNN {4}not found\n {2}cuda:0 {3}Simulated device 0/)
  })

  const withoutCudnn = hasCudnn ? test.skip : test
  withoutCudnn('without cuDNN (skipped where cuDNN is installed) lists where it looked', () => {
    const folder = path.join(scratch, 'without-cudnn')
    mkdirSync(folder)
    for (const name of ['libresnet_cuda.so', 'libcudart.so.13'])
      copyFileSync(path.join(built, name), path.join(folder, name))
    const plugin = { RESNET_CUDA_PLUGIN: path.join(folder, 'libresnet_cuda.so') }
    const missing =
      /^cuDNN 9 was not found\. Install it .*\. Tried:\n {2}libcudnn\.so\.9: cannot open shared object file/
    expectProblem(expectRefused(plugin, missing))
    expectProblem(
      expectRefused({ ...plugin, RESNET_CUDNN: '/absent/libcudnn.so.9' }, /\n {2}\/absent\/libcudnn/),
    )
    // Where it is named it is found.
    const found = doctor({ ...plugin, RESNET_SIMULATED_DRIVER: '0', RESNET_CUDNN_DIR: built })
    expect(found.text).toContain(`  cuDNN    9.24.0, ${path.join(built, 'libcudnn.so.9')}\n`)
  })
})

/** The package as npm installs it, without the one that carries the CUDA backend. */
function installedAlone(): string {
  const folder = path.join(scratch, 'node_modules', 'resnet')
  mkdirSync(path.join(folder, 'build', 'Release'), { recursive: true })
  cpSync(path.join(root, 'dist'), path.join(folder, 'dist'), { recursive: true })
  copyFileSync(path.join(root, 'package.json'), path.join(folder, 'package.json'))
  const addon = path.join('build', 'Release', 'resnet.node')
  copyFileSync(path.join(root, addon), path.join(folder, addon))
  for (const name of ['models', 'node_modules']) symlinkSync(path.join(root, name), path.join(folder, name))
  return folder
}

const onLinux = process.platform === 'linux' && process.arch === 'x64' ? describe : describe.skip
onLinux('without the package of the CUDA backend (Linux only, on x64), doctor', () => {
  let alone: string
  beforeAll(() => {
    alone = installedAlone()
  })
  const withoutDriver = hasDriver ? test.skip : test

  withoutDriver('and without a driver (skipped where one is) is content', () => {
    const said = expectRefused({}, /^no NVIDIA driver on this machine .*, and no package resnet-cuda/, alone)
    expect(said).toMatchObject({ status: 0, json: { ok: true, problems: [] } })
  })

  const withOldDriver = existsSync(oldDriver) ? test : test.skip
  withOldDriver('names the one command where a driver is on the library path', () => {
    const said = expectRefused(
      { LD_LIBRARY_PATH: oldDriver },
      new RegExp(
        `^an NVIDIA driver is here \\((/dev/.*|${oldDriver}/libcuda\\.so\\.1)\\), the package with the CUDA backend is not; ` +
          `npm install resnet-cuda-linux-x64@${version}$`,
      ),
      alone,
    )
    expect(said.text).toMatch(/\n {2}tried {4}.*\/build\/Release\/libresnet_cuda\.so: not there\n/)
    expect(said.text).toMatch(/\n {2}tried {4}.*\/resnet-cuda-linux-x64\/libresnet_cuda\.so: not there\n/)
    expect(said.status).toBe(0)
  })

  const withReal = existsSync(real) && existsSync(oldDriver) ? describe : describe.skip
  withReal('and with the real backend beside it', () => {
    beforeAll(() => {
      const beside = path.join(path.dirname(alone), 'resnet-cuda-linux-x64')
      mkdirSync(beside)
      copyFileSync(real, path.join(beside, 'libresnet_cuda.so'))
    })

    withoutDriver("says what CUDA's own runtime finds: no driver (skipped where one is)", () => {
      const said = expectRefused({}, noDriver, alone)
      expect(said).toMatchObject({ status: 0, json: { ok: true } })
    })

    test("says what CUDA's own runtime finds: a driver that is too old", () => {
      expectProblem(expectRefused({ LD_LIBRARY_PATH: oldDriver }, driverTooOld, alone))
    })
  })
})
