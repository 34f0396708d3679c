// `npm run pack:cuda`: the package resnet-cuda-linux-x64, which holds the CUDA backend and nothing else, as a tarball in
// build-cuda/; then installs it into an empty project and looks at what arrived. `resnet` finds it there by
// require.resolve('resnet-cuda-linux-x64/libresnet_cuda.so').
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { buildDir, cudaToolchainOrExit } from './cuda-toolchain.mjs'
import { ensureDependencies, fail, must, root } from './setup.mjs'

const name = 'resnet-cuda-linux-x64'
const libraryName = 'libresnet_cuda.so'
const staged = path.join(buildDir, 'package')
const maximumBytes = 50e6
const { version, license, engines } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))

const manifest = {
  name,
  version,
  description: 'The CUDA backend of resnet, for Linux on x64',
  license,
  os: ['linux'],
  cpu: ['x64'],
  libc: ['glibc'],
  engines,
  exports: {
    '.': `./${libraryName}`,
    [`./${libraryName}`]: `./${libraryName}`,
    './package.json': './package.json',
  },
  files: [libraryName, 'THIRD-PARTY-LICENSES.txt'],
}

const readme = `# ${name}

The CUDA backend of \`resnet\`: one shared library that \`resnet\` opens where a GPU is.

\`\`\`sh
npm install resnet ${name}
\`\`\`

It needs an NVIDIA driver and cuDNN 9, which it opens by name and which are not inside; \`npx resnet doctor\` says what a
machine has and lacks. Versions of the two packages should be equal.

The library carries NVIDIA's CUDA runtime, linked statically; THIRD-PARTY-LICENSES.txt has the licences.
`

/** The first file of those that exists, or a refusal: a package without its licences is not made. */
function licenceText(what, files) {
  const file = files.find((candidate) => existsSync(candidate))
  if (!file) fail(`The licence of ${what} was not found; looked for ${files.join(', ')}.`)
  return readFileSync(file, 'utf8').trim()
}

/** Licence texts in the folder of the wheel that a file came with. */
function wheelLicences(file, wheel) {
  for (let folder = path.dirname(file); folder !== path.dirname(folder); folder = path.dirname(folder)) {
    const found = readdirSync(folder).find(
      (entry) => entry.startsWith(`${wheel}-`) && entry.endsWith('.dist-info'),
    )
    if (found) return ['License.txt', 'LICENSE.txt'].map((text) => path.join(folder, found, 'licenses', text))
  }
  return []
}

/** What is linked into the library, each part with its text. */
function thirdPartyLicences({ nvcc, frontend }) {
  const json = path.join(frontend.include, 'cudnn_frontend', 'thirdparty', 'nlohmann')
  const parts = [
    [
      'cudnn-frontend',
      [
        path.join(frontend.include, '..', 'LICENSE.txt'),
        ...wheelLicences(frontend.include, 'nvidia_cudnn_frontend'),
      ],
    ],
    ['JSON for Modern C++ (within cudnn-frontend)', [path.join(json, 'LICENSE.MIT')]],
    [
      'CUDA runtime',
      [path.join(nvcc.include, '..', 'EULA.txt'), ...wheelLicences(nvcc.nvcc, 'nvidia_cuda_runtime')],
    ],
  ]
  const rule = '='.repeat(80)
  const texts = parts.map(([what, files]) => `${rule}\n${what}\n${rule}\n\n${licenceText(what, files)}\n`)
  const compiler =
    'The C++ library of GCC is linked under the GCC Runtime Library Exception, which asks for no notice.\n'
  return `${libraryName} holds code of the following.\n\n${texts.join('\n')}\n${compiler}`
}

function stage(toolchain) {
  rmSync(staged, { recursive: true, force: true })
  mkdirSync(staged)
  writeFileSync(path.join(staged, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
  writeFileSync(path.join(staged, 'README.md'), readme)
  writeFileSync(path.join(staged, 'THIRD-PARTY-LICENSES.txt'), thirdPartyLicences(toolchain))
  copyFileSync(path.join(root, 'LICENSE'), path.join(staged, 'LICENSE'))
  const library = path.join(staged, libraryName)
  copyFileSync(path.join(buildDir, libraryName), library)
  must('Stripping the library', 'strip', ['--strip-unneeded', library])
  const binary = readFileSync(library).toString('latin1')
  if (binary.includes(root))
    fail(`${library} names this checkout's folder (${root}); it must be the same wherever it is built.`)
  const glibc = [...binary.matchAll(/GLIBC_(\d+)\.(\d+)/g)]
    .map((match) => [Number(match[1]), Number(match[2])])
    .sort(([a, b], [c, d]) => c - a || d - b)[0]
  console.log(
    `${libraryName}: ${(statSync(library).size / 1e6).toFixed(2)} MB, needs glibc ${glibc?.join('.') ?? 'none'} or newer`,
  )
}

function npm(args, options) {
  const child = spawnSync('npm', args, { encoding: 'utf8', maxBuffer: 64 << 20, ...options })
  if (child.status !== 0) fail(`'npm ${args.join(' ')}' failed:\n${child.stdout}${child.stderr}`)
  return child.stdout
}

const digest = (file) => createHash('sha256').update(readFileSync(file)).digest('hex')

/** Installs the tarball as a stranger would, without scripts and network, and opens the library. */
function checkInstalled(tarball) {
  const project = mkdtempSync(path.join(tmpdir(), 'resnet-cuda-pack-'))
  try {
    writeFileSync(
      path.join(project, 'package.json'),
      '{ "name": "consumer", "version": "1.0.0", "private": true }\n',
    )
    npm(['install', '--ignore-scripts', '--offline', '--no-audit', '--no-fund', tarball], { cwd: project })
    const resolve = createRequire(path.join(project, 'index.js')).resolve
    const library = resolve(`${name}/${libraryName}`)
    if (library !== resolve(name)) fail(`'${name}' resolves to ${resolve(name)}, expected ${library}.`)
    if (digest(library) !== digest(path.join(staged, libraryName))) fail(`${library} is not what was packed.`)
    const arrived = readdirSync(path.dirname(library)).sort()
    const expected = ['LICENSE', 'README.md', 'THIRD-PARTY-LICENSES.txt', libraryName, 'package.json'].sort()
    if (arrived.join() !== expected.join())
      fail(`The package holds ${arrived.join(', ')}; expected ${expected.join(', ')}.`)
    // Not an addon, which Node says once it has opened it: all that the library asks of the machine was there.
    const opening =
      'try { process.dlopen({ exports: {} }, process.argv[1]) } catch (error) { console.log(error.message) }'
    const child = spawnSync(process.execPath, ['-e', opening, library], { cwd: project, encoding: 'utf8' })
    if (!/did not self-register/.test(child.stdout))
      fail(`${library} cannot be opened: ${child.stdout}${child.stderr}`)
  } finally {
    rmSync(project, { recursive: true, force: true })
  }
  console.log(`ok  installed without scripts, resolved, opened`)
}

ensureDependencies()
const built = spawnSync(process.execPath, [path.join(root, 'scripts', 'build-cuda.mjs')], {
  stdio: 'inherit',
})
if (built.status !== 0) process.exit(built.status ?? 1)
stage(cudaToolchainOrExit({ log: () => {} }))
const [packed] = Object.values(
  JSON.parse(npm(['pack', '--json', '--ignore-scripts', '--pack-destination', buildDir], { cwd: staged })),
)
if (packed.size >= maximumBytes)
  fail(`The tarball has ${packed.size} bytes, at most ${maximumBytes} are wanted.`)
const tarball = path.join(buildDir, packed.filename)
console.log(
  `ok  packed ${path.relative(root, tarball)}: ${(packed.size / 1e6).toFixed(2)} MB, ${packed.files.length} files`,
)
checkInstalled(tarball)
