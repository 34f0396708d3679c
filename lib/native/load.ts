import { existsSync } from 'node:fs'
import path from 'node:path'
import type { Binding } from '../../binding.js'
import { packageRoot } from '../root.js'

// It has no types of its own.
const nodeGypBuild: { path(folder: string): string } = require('node-gyp-build')

let loaded: Binding | undefined

/**
 * The native addon: a checkout's own build, else the binary that the package carries for this platform.
 *
 * @throws ERR_RESNET_UNAVAILABLE with the platform, what was tried and why it failed, and the command that fixes it
 */
export function loadBinding(): Binding {
  loaded ??= load(packageRoot)
  return loaded
}

/** The same from any folder that looks like the package's, without a memory. */
export function load(root: string): Binding {
  const refusals: string[] = []
  for (const file of candidates(root, refusals)) {
    try {
      return require(file) as Binding
    } catch (error) {
      refusals.push(`${file}: ${firstLine(error)}`)
    }
  }
  const error = new Error(explain(root, refusals))
  throw Object.assign(error, { code: 'ERR_RESNET_UNAVAILABLE' })
}

function candidates(root: string, refusals: string[]): string[] {
  const built = path.join(root, 'build', 'Release', 'resnet.node')
  const found = existsSync(built) ? [built] : []
  if (found.length === 0) refusals.push(`${built}: not there`)
  try {
    // A development build comes first in its order too; asked for one, it never looks at the prebuilt ones.
    const packed = nodeGypBuild.path(root)
    if (!found.includes(packed)) found.push(packed)
  } catch {
    refusals.push(`${path.join(root, 'prebuilds', platform())}: no binary for this platform`)
  }
  return found
}

function explain(root: string, refusals: string[]): string {
  const fix = existsSync(path.join(root, 'CMakeLists.txt'))
    ? 'Build it: npm run build:native (needs CMake and a C++20 compiler).'
    : `The package carries binaries for linux-x64 (glibc 2.34 or newer). Elsewhere, build it from a checkout of the repository: npm run build:native.`
  return [
    `resnet: no native addon for ${platform()}, Node ${process.versions.node}. Tried:`,
    ...refusals.map((refusal) => `  ${refusal}`),
    fix,
  ].join('\n')
}

function platform(): string {
  return `${process.platform}-${process.arch}`
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? ''
}
