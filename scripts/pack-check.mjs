// Packs the package and uses it as a stranger would: an empty project and HOME, no compiler on the PATH, install
// scripts ignored; import and require, types in both module kinds, and the command line on the embedded model.
import { spawnSync } from 'node:child_process'
import {
  accessSync,
  constants,
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
import { bin, ensureDependencies, fail, must, root } from './setup.mjs'

const maximumBytes = 8e6
const target = `${process.platform}-${process.arch}`
const required = [
  'package.json',
  'README.md',
  'LICENSE',
  'CHANGELOG.md',
  'binding.d.ts',
  'dist/index.js',
  'dist/index.mjs',
  'dist/index.d.ts',
  'dist/index.d.mts',
  'dist/metrics.js',
  'dist/metrics.mjs',
  'dist/metrics.d.ts',
  'dist/metrics.d.mts',
  'dist/cli/main.js',
  `prebuilds/${target}/resnet.node`,
]
const allowed = [
  /^(package\.json|README\.md|LICENSE|CHANGELOG\.md|binding\.d\.ts)$/,
  /^dist\/.*\.(js|mjs|d\.ts|d\.mts|json|txt)$/,
  // Peers of `resnet bench` that are Python's.
  /^dist\/bench\/drivers\/\w+\.py$/,
  /^prebuilds\/[\w-]+\/resnet\.node$/,
  /^models\/.*\.(safetensors|md|png)$/,
]

const names = ['ResNet', 'Tensor', 'models', 'ops', 'ResNetError']
const use = `
  const model = await ResNet.load(models.digits, { device: 'cpu' })
  const [best] = await model.classify(process.argv[2], { topK: 1 })
  if (!(best.score > 0.5)) throw new Error('unsure: ' + JSON.stringify(best))
  console.log(best.label)
  await model.dispose()
`
const sources = {
  'use.mjs': `import { ${names.join(', ')} } from 'resnet'\nimport { createRequire } from 'node:module'
if (createRequire(import.meta.url)('resnet').ResNetError !== ResNetError) throw new Error('two copies of the package')
${use}`,
  'use.cjs': `const { ${names.join(', ')} } = require('resnet')\n;(async () => {${use}})().catch((error) => {
  console.error(error)
  process.exit(1)
})`,
  'types.mts': `import { ${names.join(', ')} } from 'resnet'\n${typedUse()}`,
  'types.cts': `import { ${names.join(', ')} } from 'resnet'\n${typedUse()}`,
  'types-require.cts': `import resnet = require('resnet')\nexport const model: Promise<resnet.ResNet> = resnet.ResNet.load('x')\n`,
}

function typedUse() {
  return `
export async function main(): Promise<string[]> {
  const model = await ResNet.load(models.digits, { device: 'cpu', threads: 1 })
  const list = await model.classify('a.png', { topK: 3 })
  const lists = await model.classify(['a.png', 'b.png'])
  const x = Tensor.from(new Float32Array(3 * 4 * 4), [1, 3, 4, 4])
  const y: Tensor = await ops.relu(x)
  const codes: string[] = [new ResNetError('ERR_RESNET_IO', 'x').code]
  // @ts-expect-error the option's type is checked
  await ResNet.load(models.digits, { threads: 'two' })
  await model.dispose()
  return [...list.map((row) => row.label), ...lists.flat().map((row) => row.label), String(y.shape), ...codes]
}
`
}

/** A PATH on which there is Node, npm and a shell, and nothing that could compile. */
function barePath(dir) {
  mkdirSync(dir)
  for (const name of ['node', 'npm', 'npx', 'sh', 'env']) {
    const found = process.env.PATH.split(path.delimiter)
      .map((entry) => path.join(entry, name))
      .find((file) => {
        try {
          accessSync(file, constants.X_OK)
          return true
        } catch {
          return false
        }
      })
    if (!found) fail(`'${name}' is not on the PATH.`)
    symlinkSync(found, path.join(dir, name))
  }
  return dir
}

function pack(destination) {
  const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', destination]
  const child = spawnSync('npm', args, { cwd: root, encoding: 'utf8', maxBuffer: 64 << 20 })
  if (child.status !== 0) fail(`npm pack failed:\n${child.stderr}`)
  // npm 11 prints a list, npm 12 an object by name.
  const [tarball] = Object.values(JSON.parse(child.stdout))
  const files = tarball.files.map((file) => file.path)
  const missing = required.filter((file) => !files.includes(file))
  const strange = files.filter((file) => !allowed.some((pattern) => pattern.test(file)))
  if (missing.length > 0) fail(`The tarball lacks ${missing.join(', ')}.`)
  if (strange.length > 0) fail(`The tarball holds what it should not: ${strange.join(', ')}.`)
  if (tarball.size >= maximumBytes)
    fail(`The tarball has ${tarball.size} bytes, at most ${maximumBytes} are wanted.`)
  console.log(`ok  packed ${(tarball.size / 1e6).toFixed(2)} MB, ${files.length} files`)
  return path.join(destination, tarball.filename)
}

ensureDependencies()
must('Compiling the library', process.execPath, ['scripts/build-ts.mjs'])
if (!existsSync(path.join(root, 'prebuilds', target, 'resnet.node'))) {
  must('Building the prebuilt binary', process.execPath, ['scripts/prebuild.mjs'])
}

const temporary = mkdtempSync(path.join(tmpdir(), 'resnet-pack-'))
process.on('exit', () => rmSync(temporary, { recursive: true, force: true }))
const tarball = pack(temporary)
const project = path.join(temporary, 'project')
const home = path.join(temporary, 'home')
mkdirSync(project)
mkdirSync(home)
const passed = Object.entries(process.env).filter(([name]) =>
  /^(https?_proxy|no_proxy|npm_config_registry|NODE_EXTRA_CA_CERTS)$/i.test(name),
)
const env = { ...Object.fromEntries(passed), PATH: barePath(path.join(temporary, 'bin')), HOME: home }

/** Runs a step in the consumer's project; ends all with its output where it fails. */
function step(what, command, args, environment = env) {
  const child = spawnSync(command, args, { cwd: project, env: environment, encoding: 'utf8' })
  if (child.status !== 0) {
    fail(
      `${what} failed (${child.error?.message ?? child.signal ?? child.status}):\n${child.stdout}${child.stderr}`,
    )
  }
  console.log(`ok  ${what}`)
  return child.stdout
}

function expectLabel(what, output, sample) {
  const digit = /(\d)/.exec(path.basename(sample))[1]
  if (!output.includes(`handwritten ${digit}`))
    fail(`${what}: expected 'handwritten ${digit}' for ${sample}, got:\n${output}`)
}

writeFileSync(
  path.join(project, 'package.json'),
  '{ "name": "consumer", "version": "1.0.0", "private": true }\n',
)
for (const [name, text] of Object.entries(sources)) writeFileSync(path.join(project, name), text)
step('install without scripts', 'npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', tarball])

const samples = path.join(project, 'node_modules', 'resnet', 'models', 'samples')
const sample = path.join(
  samples,
  readdirSync(samples).find((file) => /\d.*\.png$/.test(file)),
)
expectLabel('import', step('import', 'node', ['use.mjs', sample]), sample)
expectLabel('require', step('require', 'node', ['use.cjs', sample]), sample)
expectLabel(
  'npx resnet',
  step('npx resnet classify', 'npx', ['--no-install', 'resnet', 'classify', sample]),
  sample,
)

// The consumer's own type packages, which the package does not bring.
for (const name of ['@types/node', 'undici-types']) {
  const link = path.join(project, 'node_modules', name)
  mkdirSync(path.dirname(link), { recursive: true })
  if (!existsSync(link)) symlinkSync(path.join(root, 'node_modules', name), link)
}
for (const module of ['node16', 'nodenext']) {
  const files = Object.keys(sources).filter((name) => name.endsWith('ts'))
  const options = [
    '--noEmit',
    '--strict',
    '--module',
    module,
    '--target',
    'es2022',
    '--types',
    'node',
    ...files,
  ]
  step(`types, ${module}`, bin('tsc'), options, process.env)
}
