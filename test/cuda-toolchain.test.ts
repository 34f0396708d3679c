// What scripts/cuda-toolchain.mjs takes for an installed CUDA toolchain, and what it refuses: over folders laid out as an
// installer or a system's packages lay them out, with compilers that only say their version. Nothing is fetched.
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

const scratch = mkdtempSync(path.join(tmpdir(), 'resnet-toolchain-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

function write(file: string, text: string, mode = 0o644) {
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, text)
  chmodSync(file, mode)
  return file
}

const says = (text: string) => `#!/bin/sh\necho '${text}'\n`
const nvccSays = (version: string) => says(`Cuda compilation tools, release ${version}, V${version}.61`)

/** A toolkit as its installer lays it out, in a folder of that name. */
function toolkit(name: string, version: string, libraries = 'lib64'): string {
  const folder = path.join(scratch, name)
  write(path.join(folder, 'bin', 'nvcc'), nvccSays(version), 0o755)
  write(path.join(folder, 'include', 'cuda_runtime_api.h'), '')
  write(path.join(folder, libraries, 'libcudart_static.a'), '')
  return folder
}

/** cuDNN's headers and library: below one folder, or as Debian's packages lay them out. */
function cudnn(include: string, library: string, version = '9.24.0'): string {
  const [major, minor, patch] = version.split('.')
  const lines = [`MAJOR ${major}`, `MINOR ${minor}`, `PATCHLEVEL ${patch}`]
  write(path.join(include, 'cudnn_version.h'), lines.map((line) => `#define CUDNN_${line}\n`).join(''))
  return write(path.join(library, 'libcudnn.so.9'), '')
}

function frontend(folder: string, version: string): string {
  const [major, minor, patch] = version.split('.')
  const lines = [`MAJOR_VERSION ${major}`, `MINOR_VERSION ${minor}`, `PATCH_VERSION ${patch}`]
  const text = lines.map((line) => `#define CUDNN_FRONTEND_${line}\n`).join('')
  write(path.join(folder, 'include', 'cudnn_frontend_version.h'), text)
  return folder
}

const tools = path.join(scratch, 'tools')
write(path.join(tools, 'cmake'), says('cmake version 4.1.2'), 0o755)
const frontend118 = frontend(path.join(scratch, 'frontend'), '1.18.0')

interface Found {
  nvcc: { nvcc: string; include: string; version: string }
  cudnn: { include: string; library?: string; version: string }
  frontend: { include: string }
  cmake: { version: string }
}

/** What is found with this environment and nothing of the one that runs the test; or why nothing is. */
function look(env: Record<string, string>): { found?: Found; log: string[]; reason?: string } {
  const module = path.join(__dirname, '..', 'scripts', 'cuda-toolchain.mjs')
  const script = `
    import { cudaToolchain } from ${JSON.stringify(module)}
    const log = []
    try {
      console.log(JSON.stringify({ found: cudaToolchain({ log: (line) => log.push(line) }), log }))
    } catch (error) {
      console.log(JSON.stringify({ reason: error.message, log }))
    }`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    env: { PATH: `${tools}:/usr/bin:/bin`, HOME: scratch, RESNET_CUDA_FETCH: 'never', ...env },
  })
  if (stdout === '') throw new Error(stderr)
  return JSON.parse(stdout)
}

const onLinux = process.platform === 'linux' && process.arch === 'x64' ? describe : describe.skip
onLinux('an installed CUDA toolchain (Linux only, on x64)', () => {
  const common = { CUDNN_FRONTEND_PATH: frontend118 }
  // What is refused there gives way to one that lies where everybody looks.
  const alone = existsSync('/usr/local/cuda') ? test.skip : test

  test.each([
    ['12.8', 'lib64'],
    ['12.9', 'lib'],
    ['13.0', 'targets/x86_64-linux/lib'],
    ['13.2', 'lib64'],
    ['14.0', 'lib64'],
  ])('of %s with its libraries in %s is taken from CUDA_HOME', (version, libraries) => {
    const folder = toolkit(`cuda-${version}`, version, libraries)
    const library = cudnn(path.join(folder, 'include'), path.join(folder, 'lib64'))
    const { found, log } = look({ ...common, CUDA_HOME: folder })
    expect(found).toMatchObject({
      nvcc: { nvcc: path.join(folder, 'bin', 'nvcc'), include: path.join(folder, 'include'), version },
      cudnn: { include: path.join(folder, 'include'), library, version: '9.24.0' },
      frontend: { include: path.join(frontend118, 'include') },
      cmake: { version: '4.1.2' },
    })
    expect(log[0]).toBe(`nvcc ${version} (installed): ${path.join(folder, 'bin', 'nvcc')}`)
  })

  test('is taken from CUDA_PATH, and from the PATH through a link as systems make it', () => {
    const folder = toolkit('linked', '13.0')
    cudnn(path.join(folder, 'include'), path.join(folder, 'lib64'))
    const bin = path.join(scratch, 'bin')
    mkdirSync(bin)
    symlinkSync(path.join(folder, 'bin', 'nvcc'), path.join(bin, 'nvcc'))
    const nvcc = path.join(folder, 'bin', 'nvcc')
    expect(look({ ...common, CUDA_PATH: folder }).found?.nvcc.nvcc).toBe(nvcc)
    expect(look({ ...common, PATH: `${bin}:${tools}:/usr/bin:/bin` }).found?.nvcc.nvcc).toBe(nvcc)
  })

  test('finds cuDNN apart from the toolkit, where CUDNN_PATH says', () => {
    const CUDA_HOME = toolkit('apart', '13.0')
    const folder = path.join(scratch, 'cudnn')
    const library = cudnn(path.join(folder, 'include'), path.join(folder, 'lib'), '9.10.1')
    const { found } = look({ ...common, CUDA_HOME, CUDNN_PATH: folder })
    expect(found?.cudnn).toEqual({ include: path.join(folder, 'include'), library, version: '9.10.1' })
    // Debian's packages: headers and library in the architecture's folders.
    const system = path.join(scratch, 'debian', 'usr')
    const include = path.join(system, 'include', 'x86_64-linux-gnu')
    const there = cudnn(include, path.join(system, 'lib', 'x86_64-linux-gnu'), '9.24.0')
    expect(look({ ...common, CUDA_HOME, CUDNN_PATH: include }).found?.cudnn).toEqual({
      include,
      library: there,
      version: '9.24.0',
    })
  })

  alone.each([['12.4'], ['12.7'], ['11.8']])(
    'of %s is refused, and named (skipped where /usr/local/cuda is)',
    (version) => {
      const CUDA_HOME = toolkit(`old-${version}`, version)
      cudnn(path.join(CUDA_HOME, 'include'), path.join(CUDA_HOME, 'lib64'))
      const { found, log, reason } = look({ ...common, CUDA_HOME, CUDNN_PATH: CUDA_HOME })
      expect(found).toBeUndefined()
      expect(log).toContain(`Not used: ${path.join(CUDA_HOME, 'bin', 'nvcc')} is ${version}, 12.8 is needed.`)
      expect(reason).toMatch(/^nvcc not installed, and RESNET_CUDA_FETCH=never forbids to fetch$/)
    },
  )

  alone('that lacks a part (skipped where /usr/local/cuda is) is refused for it', () => {
    const whole = (name: string) => {
      const folder = toolkit(name, '13.0')
      cudnn(path.join(folder, 'include'), path.join(folder, 'lib64'))
      return folder
    }
    const lacking = (name: string, part: string) => {
      const folder = whole(name)
      rmSync(path.join(folder, part))
      const env = { ...common, CUDA_HOME: folder, CUDNN_PATH: folder }
      const { log, reason } = look(env)
      expect(reason).toMatch(/^nvcc not installed/)
      return log.join('\n')
    }
    expect(lacking('no-nvcc', 'bin/nvcc')).toMatch(/no nvcc in .*no-nvcc\./)
    expect(lacking('no-header', 'include/cuda_runtime_api.h')).toMatch(/no cuda_runtime_api\.h in /)
    expect(lacking('no-runtime', 'lib64/libcudart_static.a')).toMatch(/no libcudart_static\.a in /)
    const silent = whole('silent')
    write(path.join(silent, 'bin', 'nvcc'), '#!/bin/sh\nexit 1\n', 0o755)
    expect(look({ ...common, CUDA_HOME: silent, CUDNN_PATH: silent }).log.join()).toMatch(
      /bin\/nvcc does not say its version/,
    )
  })

  test('does without a cuDNN of another major version, and a cudnn-frontend of another minor one', () => {
    const CUDA_HOME = toolkit('majors', '13.0')
    cudnn(path.join(CUDA_HOME, 'include'), path.join(CUDA_HOME, 'lib64'), '8.9.7')
    const frontend122 = frontend(path.join(scratch, 'frontend-122'), '1.22.0')
    expect(look({ CUDA_HOME, CUDNN_FRONTEND_PATH: frontend122, CUDNN_PATH: CUDA_HOME }).reason).toMatch(
      /\bfrontend not installed|frontend.* not installed/,
    )
  })

  test('with a CMake before 4.0 is refused for it', () => {
    const CUDA_HOME = toolkit('cmake', '13.0')
    cudnn(path.join(CUDA_HOME, 'include'), path.join(CUDA_HOME, 'lib64'))
    const old = path.join(scratch, 'old-tools')
    write(path.join(old, 'cmake'), says('cmake version 3.31.6'), 0o755)
    const { reason, log } = look({ ...common, CUDA_HOME, PATH: `${old}:/usr/bin:/bin` })
    expect(reason).toMatch(/^cmake not installed/)
    expect(log.join()).toMatch(/cmake is 3\.31\.6, 4\.0 is needed for CUDA/)
  })

  // Where neither a toolkit nor a network is at hand: `npm test` lists the CUDA backend as skipped for this status.
  const fetches = spawnSync('python3', ['-m', 'pip', '--version']).status === 0 ? test : test.skip
  fetches(
    'that can neither be found nor fetched (skipped where Python has no pip) is one message and a status of its own',
    () => {
      const cache = path.join(scratch, 'cache')
      const { status, stderr, stdout } = spawnSync(
        process.execPath,
        [path.join(__dirname, '..', 'scripts', 'cuda-toolchain.mjs')],
        {
          encoding: 'utf8',
          env: {
            PATH: '/usr/bin:/bin',
            HOME: scratch,
            RESNET_CUDA_FETCH: 'always',
            RESNET_CUDA_HOME: cache,
            PIP_CONFIG_FILE: '/dev/null',
            PIP_INDEX_URL: 'http://127.0.0.1:9/simple',
          },
        },
      )
      expect(status).toBe(69)
      expect(stdout).toMatch(/^Fetching nvcc, cudnn, frontend, cmake for CUDA as Python wheels into /)
      expect(stderr).toMatch(
        /^\nThe CUDA toolchain cannot be had: pip could not fetch it: .* \(the package index did not answer: .*refused\)\.\n/,
      )
      expect(stderr).toMatch(/The CPU backend does not need any of it\.\n$/)
      // Nothing half fetched is left.
      expect(readdirSync(cache)).toEqual([])
    },
  )
})
