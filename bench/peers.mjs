// Installs the peers into .cache/bench/peers: none of them is a dependency of the package.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'

const installed = (folder, { name, version }) => {
  const manifest = path.join(folder, 'node_modules', name, 'package.json')
  return existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).version === version
}

/** Makes `packages` requirable from `folder`. Their install scripts stay unrun: those would fetch GPU libraries. */
export function installPeers(folder, packages) {
  const missing = packages.filter((wanted) => !installed(folder, wanted))
  if (missing.length === 0) return
  mkdirSync(folder, { recursive: true })
  const manifest = path.join(folder, 'package.json')
  if (!existsSync(manifest)) writeFileSync(manifest, '{ "private": true }\n')
  const specs = missing.map(({ name, version }) => `${name}@${version}`)
  console.log(`Installing ${specs.join(', ')} …`)
  execFileSync('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--save-exact', ...specs], {
    cwd: folder,
    env: { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
}
