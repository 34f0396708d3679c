// `npm run gpu-carry`: packs what scripts/gpu-check needs on a machine without Node and without a network into .gpu/, which git
// ignores: Node itself, our build, the few modules that it requires, and the programs that were compiled for devices.
//   node scripts/gpu-carry.mjs [--node FILE]     another Node than this one, for linux-x64
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { ensureBuilt, fail, must, root, run } from './setup.mjs'

const require = createRequire(import.meta.url)
const folder = path.join(root, '.gpu')
const archive = path.join(folder, 'build.tar.xz')
const packedNode = path.join(folder, 'node.xz')
/** Of what is packed; with the checkout it must stay below what such a machine takes. */
const mostBytes = 55 * 2 ** 20
const mostWithCheckout = 64 * 2 ** 20

const { values } = parseArgs({ options: { node: { type: 'string', default: process.execPath } } })
const readJson = (file) => JSON.parse(readFileSync(file, 'utf8'))

/** Where a package is installed, seen from another's folder. */
function installed(name, from) {
  for (let at = from; ; at = path.dirname(at)) {
    const found = path.join(at, 'node_modules', name)
    if (existsSync(path.join(found, 'package.json'))) return found
    if (at === path.dirname(at)) return undefined
  }
}

/** A package and all that it requires here; optional ones of other platforms are not installed, and left out. */
function withDependencies(name, from, found = new Map()) {
  const where = installed(name, from)
  if (where === undefined || found.has(name)) return found
  found.set(name, where)
  const { dependencies = {}, optionalDependencies = {} } = readJson(path.join(where, 'package.json'))
  for (const next of Object.keys({ ...dependencies, ...optionalDependencies }))
    withDependencies(next, where, found)
  return found
}

/** Compresses by Python, which the other machine unpacks with: not every machine has xz. */
function python(code, args) {
  const child = spawnSync('python3', ['-c', code, ...args], { encoding: 'utf8' })
  if (child.status !== 0) fail(`python3 could not pack: ${child.error?.message ?? child.stderr}`)
}

function packNode() {
  const stamp = path.join(folder, 'node.sha256')
  const digest = createHash('sha256').update(readFileSync(values.node)).digest('hex')
  if (existsSync(packedNode) && existsSync(stamp) && readFileSync(stamp, 'utf8') === digest) return
  console.log(`Packing ${values.node} (about a minute, once) …`)
  const code =
    'import lzma, shutil, sys\n' +
    'with open(sys.argv[1], "rb") as a, lzma.open(sys.argv[2], "wb", preset=7) as b: shutil.copyfileobj(a, b, 1 << 20)'
  python(code, [values.node, `${packedNode}.part`])
  renameSync(`${packedNode}.part`, packedNode)
  writeFileSync(stamp, digest)
}

/** [file or folder here, its place in the checkout there]. */
function contents() {
  const parts = ['dist', 'build/Release/resnet.node', 'build/Release/libresnet_cuda.so']
  const programs = ['build-cuda/resnet_gpu_probe', 'build-cuda/device_kernels_test']
  const modules = new Map()
  // What dist/index.js loads; the command line's packages stay here.
  for (const name of ['node-gyp-build', 'sharp']) withDependencies(name, root, modules)
  return [
    ...[...parts, ...programs].map((name) => [path.join(root, name), name]),
    ...[...modules].map(([name, where]) => [where, `node_modules/${name}`]),
  ]
}

function packBuild() {
  const list = contents()
  const missing = list.filter(([from]) => !existsSync(from))
  if (missing.length > 0) fail(`Not built: ${missing.map(([, to]) => to).join(', ')}.`)
  const code =
    'import sys, tarfile\n' +
    'def plain(info):\n' +
    '  info.uid = info.gid = 0; info.uname = info.gname = ""; return None if "/node_modules/.bin" in info.name else info\n' +
    'with tarfile.open(sys.argv[1], "w:xz", preset=6, dereference=True) as tar:\n' +
    '  for a, b in zip(sys.argv[2::2], sys.argv[3::2]): tar.add(a, b, filter=plain)'
  python(code, [`${archive}.part`, ...list.flat()])
  renameSync(`${archive}.part`, archive)
}

/** Bytes of what git knows or would add: it travels too. */
function checkoutBytes() {
  const git = spawnSync(
    'git',
    ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '--deduplicate'],
    {
      cwd: root,
      encoding: 'utf8',
    },
  )
  if (git.status !== 0) return 0
  return git.stdout
    .split('\0')
    .filter((name) => name !== '' && existsSync(path.join(root, name)))
    .reduce((sum, name) => sum + statSync(path.join(root, name)).size, 0)
}

/** What was packed starts: unpacked into an empty folder, without anything of this checkout. */
function tryIt() {
  const trial = path.join(folder, 'trial')
  rmSync(trial, { recursive: true, force: true })
  mkdirSync(trial, { recursive: true })
  try {
    python('import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])', [archive, trial])
    writeFileSync(path.join(trial, 'package.json'), JSON.stringify(require('../package.json')))
    const code = "const { ResNet } = require('./dist/index.js'); console.log(typeof ResNet.load)"
    must('Starting what was packed', process.execPath, ['-e', code], { cwd: trial, quiet: true })
  } finally {
    rmSync(trial, { recursive: true, force: true })
  }
}

if (process.platform !== 'linux' || process.arch !== 'x64')
  fail('gpu-carry packs for linux-x64, and must run there.')
ensureBuilt()
const status = run(process.execPath, [path.join(root, 'scripts', 'build-cuda.mjs'), '--device'])
if (status !== 0) process.exit(status)
mkdirSync(folder, { recursive: true })
packNode()
packBuild()
tryIt()

const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`
const carried = statSync(packedNode).size + statSync(archive).size
const whole = carried + checkoutBytes()
console.log(
  `.gpu/: ${megabytes(carried)} (node.xz ${megabytes(statSync(packedNode).size)}), with the checkout ${megabytes(whole)}`,
)
if (carried > mostBytes || whole > mostWithCheckout) {
  fail(`That is more than ${megabytes(mostBytes)} packed, or ${megabytes(mostWithCheckout)} in all.`)
}
console.log('Copy the checkout with .gpu/ to the machine with the GPU and run scripts/gpu-check there.')
