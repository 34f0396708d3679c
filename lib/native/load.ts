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
  const { file, refusals } = find(root)
  if (file !== undefined) {
    try {
      return require(file) as Binding
    } catch (error) {
      // Not passed over for another: whoever built it wants to know.
      refusals.push(`${file}: ${firstLine(error)}`)
    }
  }
  throw Object.assign(new Error(explain(root, refusals)), { code: 'ERR_RESNET_UNAVAILABLE' })
}

/** node-gyp-build's order: RESNET_PREBUILD, build/Release, prebuilds. */
function find(root: string): { file?: string; refusals: string[] } {
  try {
    return { file: nodeGypBuild.path(root), refusals: [] }
  } catch {
    return {
      refusals: [
        `${path.join(root, 'build', 'Release', 'resnet.node')}: not there`,
        `${path.join(root, 'prebuilds', platform())}: no binary for this platform`,
      ],
    }
  }
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
