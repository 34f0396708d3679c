import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { packageRoot } from '../lib/root.js'

const json = (name: string) => JSON.parse(readFileSync(path.join(packageRoot, name), 'utf8'))

describe('the package', () => {
  const manifest = json('package.json')

  test('needs no install script', () => {
    for (const name of ['preinstall', 'install', 'postinstall', 'prepare']) {
      expect(manifest.scripts).not.toHaveProperty(name)
    }
  })

  test('asks only for packages that need none either', () => {
    const { packages } = json('package-lock.json')
    const withScripts = Object.keys(manifest.dependencies).filter(
      (name) => packages[`node_modules/${name}`].hasInstallScript,
    )
    expect(withScripts).toEqual([])
  })

  test('pins what it asks for', () => {
    for (const version of Object.values(manifest.dependencies)) expect(version).toMatch(/^\d+\.\d+\.\d+$/)
  })

  test('has a lockfile without addresses', () => {
    expect(readFileSync(path.join(packageRoot, 'package-lock.json'), 'utf8')).not.toContain(
      '"resolved": "http',
    )
  })

  test('names scripts that exist', () => {
    const scripts = readdirSync(path.join(packageRoot, 'scripts')).map((name) => `scripts/${name}`)
    const named = Object.values<string>(manifest.scripts).flatMap(
      (script) => script.match(/scripts\/[\w-]+\.mjs/g) ?? [],
    )
    expect(named.length).toBeGreaterThan(0)
    for (const name of named) expect(scripts).toContain(name)
  })
})
