// Compiles lib/ into dist/ (CommonJS, the ES module face and the types) unless dist/ is newer than all of lib/.
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { bin, ensureDependencies, must, root } from './setup.mjs'

const dist = path.join(root, 'dist')
const stamp = path.join(root, '.cache', 'dist.stamp')

/** When anything under a file or folder last changed; a folder's own time tells of removed files. */
function newest(file) {
  const { mtimeMs } = statSync(file)
  if (!statSync(file).isDirectory()) return mtimeMs
  return readdirSync(file).reduce((latest, name) => Math.max(latest, newest(path.join(file, name))), mtimeMs)
}

ensureDependencies()
const inputs = [
  'lib',
  'binding.d.ts',
  'tsconfig.json',
  'tsconfig.build.json',
  'package.json',
  'scripts/build-ts.mjs',
]
const changed = Math.max(...inputs.map((name) => newest(path.join(root, name))))
if (
  existsSync(path.join(dist, 'index.js')) &&
  existsSync(stamp) &&
  statSync(stamp).mtimeMs > changed &&
  !process.argv.includes('--force')
) {
  console.log('The compiled library is up to date.')
} else {
  console.log('Compiling the library …')
  rmSync(dist, { recursive: true, force: true })
  must('Compiling the library', bin('tsc'), ['-p', 'tsconfig.build.json'])
  // What the compiler leaves where it is: the benchmark's peers in Python.
  for (const name of readdirSync(path.join(root, 'lib'), { recursive: true })) {
    if (name.endsWith('.py')) copyFileSync(path.join(root, 'lib', name), path.join(dist, name))
  }
  const cli = path.join(dist, 'cli', 'main.js')
  if (existsSync(cli)) chmodSync(cli, 0o755)
  mkdirSync(path.dirname(stamp), { recursive: true })
  writeFileSync(stamp, '')
}
