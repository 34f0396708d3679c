// Finding the addon, and the one error that explains why there is none.
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { load, loadBinding } from '../../lib/native/load.js'
import { packageRoot } from '../../lib/root.js'

const built = path.join(packageRoot, 'build', 'Release', 'resnet.node')
const platform = `${process.platform}-${process.arch}`

let root: string
beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), 'resnet-load-'))
  writeFileSync(path.join(root, 'package.json'), '{"name":"resnet"}')
})
afterEach(() => rmSync(root, { recursive: true }))

function place(file: string, from = built) {
  mkdirSync(path.dirname(path.join(root, file)), { recursive: true })
  cpSync(from, path.join(root, file))
}
function refusal() {
  try {
    load(root)
  } catch (error) {
    return error as Error & { code: string }
  }
  throw new Error('an addon was loaded')
}

test('the checkout has one, and it is loaded once', () => {
  expect(loadBinding()).toBe(loadBinding())
})

test('a package carries it under prebuilds', () => {
  place(`prebuilds/${platform}/resnet.node`)
  expect(load(root).version).toBe(loadBinding().version)
})

test('nothing there: platform, what was tried, the remedy', () => {
  const { code, message } = refusal()
  expect(code).toBe('ERR_RESNET_UNAVAILABLE')
  expect(message).toContain(platform)
  expect(message).toContain(process.versions.node)
  expect(message).toContain(`${path.join(root, 'build', 'Release', 'resnet.node')}: not there`)
  expect(message).toContain(`${path.join(root, 'prebuilds', platform)}: no binary for this platform`)
  expect(message).toContain('checkout')
})

test('in a checkout the remedy is the build', () => {
  writeFileSync(path.join(root, 'CMakeLists.txt'), '')
  expect(refusal().message).toContain('npm run build:native')
})

test('a binary that cannot be loaded is named with the reason', () => {
  // The development build comes first, and a broken one is not passed over in silence.
  place('build/Release/resnet.node', path.join(root, 'package.json'))
  place(`prebuilds/${platform}/resnet.node`)
  const { code, message } = refusal()
  expect(code).toBe('ERR_RESNET_UNAVAILABLE')
  expect(message).toContain(path.join(root, 'build', 'Release', 'resnet.node'))
  expect(message).toMatch(/invalid ELF header|too short|not a mach-o|not a valid Win32/i)
})
