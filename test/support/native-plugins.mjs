// jest's globalSetup: builds the plugins of test/native/plugin, in the build folder that building the addon has configured.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const build = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '..', 'build')

export default function setUp() {
  if (!existsSync(path.join(build, 'CMakeCache.txt'))) return
  const child = spawnSync(
    'cmake',
    ['--build', build, '--config', 'Release', '--target', 'resnet_test_plugins'],
    {
      encoding: 'utf8',
    },
  )
  if (child.status !== 0) {
    throw new Error(`The plugins of test/native/plugin could not be built:\n${child.stdout}\n${child.stderr}`)
  }
}
