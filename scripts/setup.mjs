// What a fresh checkout needs before anything runs: the dependencies, the addon, the compiled library. Each is made
// when missing or stale and left alone otherwise. Uses Node's own modules only, since it runs before `npm ci`.
import { spawnSync } from 'node:child_process'
import { existsSync, lstatSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..')
export const bin = (name) =>
  path.join(root, 'node_modules', '.bin', process.platform === 'win32' ? `${name}.cmd` : name)

/** Says what is wrong in one message, without a stack, and ends the process. */
export function fail(message) {
  console.error(`\n${message}`)
  process.exit(1)
}

/** Runs a command in the checkout with its output shown; returns its exit status (1 when a signal ended it). */
export function run(command, args, { env, cwd = root, quiet = false, quietStdout = false } = {}) {
  const shell = process.platform === 'win32'
  const child = spawnSync(command, args, {
    cwd,
    env: { ...process.env, npm_config_update_notifier: 'false', ...env },
    shell,
    stdio: quiet ? ['ignore', 'pipe', 'pipe'] : ['inherit', quietStdout ? 'ignore' : 'inherit', 'inherit'],
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  })
  if (child.error) fail(`Could not start '${command}': ${child.error.message}`)
  const status = child.status ?? 1
  if (quiet && status !== 0) process.stderr.write(`${child.stdout}${child.stderr}`)
  return status
}

/** As run(), and ends the process where the command failed. */
export function must(what, command, args, options) {
  const status = run(command, args, options)
  if (status !== 0)
    fail(`${what} failed: '${[path.basename(command), ...args].join(' ')}' ended with status ${status}.`)
}

function readJson(file) {
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined
}

/** The first package whose installed version is not the lockfile's, or undefined. */
function staleDependency() {
  const wanted = readJson(path.join(root, 'package-lock.json')).packages
  const installed = readJson(path.join(root, 'node_modules', '.package-lock.json'))?.packages
  if (!installed) return 'node_modules'
  // npm leaves out optional packages of other platforms.
  return Object.keys(wanted).find(
    (name) => name !== '' && !wanted[name].optional && installed[name]?.version !== wanted[name].version,
  )
}

export function ensureDependencies() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major < 20 || (major === 20 && minor < 9)) {
    fail(`resnet needs Node.js 20.9 or newer; this is ${process.version} (${process.execPath}).`)
  }
  const stale = staleDependency()
  if (stale === undefined) return
  const modules = path.join(root, 'node_modules')
  if (existsSync(modules) && lstatSync(modules).isSymbolicLink()) {
    fail(
      `node_modules is a link and '${stale}' in it is not what package-lock.json asks for. Run npm ci where it points.`,
    )
  }
  console.log('Installing the dependencies (npm ci) …')
  must('Installing the dependencies', process.platform === 'win32' ? 'npm.cmd' : 'npm', [
    'ci',
    '--no-audit',
    '--no-fund',
    '--loglevel=error',
  ])
}

/** Dependencies, addon and compiled library: all that running from a checkout needs. */
export function ensureBuilt() {
  ensureDependencies()
  for (const script of ['build-native.mjs', 'build-ts.mjs']) {
    const status = run(process.execPath, [path.join(root, 'scripts', script)])
    // The script has said what is wrong.
    if (status !== 0) process.exit(status)
  }
}
