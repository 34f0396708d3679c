// Makes prebuilds/<platform>-<arch>/resnet.node: the binary that travels in the package, built from nothing and
// stripped, and checks what a consumer's machine must have to load it.
import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { promisify } from 'node:util'
import { ensureDependencies, fail, root } from './setup.mjs'
import { ensureToolchain } from './toolchain.mjs'

/** The newest glibc whose symbols a binary asks for, as [2, 34]. */
function glibcOf(binary) {
  const versions = [...binary.toString('latin1').matchAll(/GLIBC_(\d+)\.(\d+)/g)]
  return versions
    .map(([, major, minor]) => [Number(major), Number(minor)])
    .sort(([a, b], [c, d]) => c - a || d - b)[0]
}

ensureDependencies()
ensureToolchain()
// What lies there would be packed too.
rmSync(path.join(root, 'prebuilds'), { recursive: true, force: true })
const prebuildify = promisify(createRequire(import.meta.url)('prebuildify'))
await prebuildify({
  cwd: root,
  napi: true,
  strip: true,
  name: 'resnet',
  nodeGyp: path.join(root, 'scripts', 'cmake-rebuild.mjs'),
})

const dir = path.join(root, 'prebuilds', `${process.platform}-${process.arch}`)
const files = readdirSync(dir)
if (files.length !== 1 || files[0] !== 'resnet.node')
  fail(`Expected only resnet.node in ${dir}, found ${files.join(', ')}.`)
const file = path.join(dir, 'resnet.node')
const binary = readFileSync(file)
if (process.platform === 'linux') {
  if (binary.includes('libstdc++.so'))
    fail(`${file} asks for libstdc++.so; it must carry its own (-static-libstdc++).`)
  console.log(`Needs glibc ${glibcOf(binary)?.join('.') ?? 'none'} or newer.`)
}
console.log(`${path.relative(root, file)}: ${(statSync(file).size / 1e6).toFixed(2)} MB`)
