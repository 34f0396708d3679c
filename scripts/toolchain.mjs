// Is there a compiler for C++20, CMake, and something that CMake can drive? If not: one message, with the one command
// that installs what is missing.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fail } from './setup.mjs'

const minimumCMake = [3, 18]

const works = (command, args, input) => spawnSync(command, args, { input, encoding: 'utf8' })

/** undefined, or why there is no usable CMake. */
function cmakeProblem() {
  const { error, stdout } = works('cmake', ['--version'])
  if (error) return 'CMake is not installed'
  const version = /version (\d+)\.(\d+)/.exec(stdout)?.slice(1, 3).map(Number) ?? [0, 0]
  const enough =
    version[0] > minimumCMake[0] || (version[0] === minimumCMake[0] && version[1] >= minimumCMake[1])
  return enough
    ? undefined
    : `CMake ${version.join('.')} is too old (${minimumCMake.join('.')} or newer is needed)`
}

/** undefined, or why no compiler takes C++20. On Windows CMake finds Visual Studio by itself, and says so if not. */
function compilerProblem() {
  if (process.platform === 'win32') return undefined
  const probe = '#include <concepts>\n#include <span>\nstatic_assert(std::same_as<int, int>);\n'
  const candidates = process.env.CXX ? [process.env.CXX] : ['c++', 'g++', 'clang++']
  const present = candidates.filter((name) => !works(name, ['--version']).error)
  if (present.length === 0) {
    return process.env.CXX
      ? `the compiler that CXX names ('${process.env.CXX}') cannot be started`
      : 'there is no C++ compiler'
  }
  const able = present.some(
    (name) => works(name, ['-std=c++20', '-fsyntax-only', '-x', 'c++', '-'], probe).status === 0,
  )
  return able
    ? undefined
    : `the C++ compiler (${present.join(', ')}) does not take C++20; g++ 11, clang 14 or newer do`
}

function makeProblem() {
  if (process.platform === 'win32') return undefined
  return ['make', 'ninja'].every((name) => works(name, ['--version']).error)
    ? 'there is neither make nor ninja'
    : undefined
}

/** The command that installs everything needed, for this platform. */
export function installCommand() {
  if (process.platform === 'darwin') return 'xcode-select --install && brew install cmake'
  if (process.platform === 'win32') {
    return 'winget install Microsoft.VisualStudio.2022.BuildTools Kitware.CMake   (with the C++ workload)'
  }
  let release = ''
  try {
    release = readFileSync('/etc/os-release', 'utf8')
  } catch {
    // No such file: the general answer below.
  }
  const sudo = process.getuid?.() === 0 ? '' : 'sudo '
  const family = `${/^ID=(.*)$/m.exec(release)?.[1] ?? ''} ${/^ID_LIKE=(.*)$/m.exec(release)?.[1] ?? ''}`
  if (/alpine/.test(family)) return `${sudo}apk add g++ make cmake`
  if (/fedora|rhel|centos/.test(family)) return `${sudo}dnf install -y gcc-c++ make cmake`
  if (/arch/.test(family)) return `${sudo}pacman -S --needed gcc make cmake`
  if (/suse/.test(family)) return `${sudo}zypper install -y gcc-c++ make cmake`
  return `${sudo}apt-get update && ${sudo}apt-get install -y g++ make cmake`
}

export function ensureToolchain() {
  const problems = [compilerProblem(), cmakeProblem(), makeProblem()].filter(
    (problem) => problem !== undefined,
  )
  if (problems.length === 0) return
  fail(
    `resnet's native part cannot be built here: ${problems.join('; ')}.\n` +
      `Install what is missing, then run the same command again:\n\n  ${installCommand()}\n`,
  )
}
