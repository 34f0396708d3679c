import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { errorCodes, ResNetError } from '../lib/errors.js'
import { packageRoot } from '../lib/root.js'

/** The codes that a file lists, in its order, each from a line of the given form. */
function listed(file: string, line: RegExp): string[] {
  const text = readFileSync(path.join(packageRoot, file), 'utf8')
  return [...text.matchAll(line)].map((match) => match[1] ?? '')
}

function under(dir: string): string[] {
  const names = readdirSync(path.join(packageRoot, dir), { recursive: true, encoding: 'utf8' })
  return names.filter((name) => /\.(md|m?ts|cc|h)$/.test(name)).map((name) => path.join(dir, name))
}

describe('the table of error codes', () => {
  const native = listed('native/core/status.h', /^ *X\(k\w+, *"(\w+)"\)/gm)

  test('is found in the native header', () => {
    expect(native.length).toBeGreaterThan(10)
    expect(new Set(native).size).toBe(native.length)
    for (const code of native) expect(code).toMatch(/^ERR_RESNET_[A-Z_]+$/)
  })

  test('is the same in TypeScript', () => {
    expect(errorCodes).toEqual(native)
  })

  test('is the same in docs/errors.md, each code with a section', () => {
    expect(listed('docs/errors.md', /^## (\w+)$/gm)).toEqual(native)
  })

  test('holds every code that a source or a page names', () => {
    const files = ['README.md', 'CHANGELOG.md', ...under('docs'), ...under('lib'), ...under('native')]
    const strangers = files.flatMap((file) =>
      listed(file, /\b(ERR_RESNET_[A-Z_]*[A-Z])\b/g)
        .filter((code) => !native.includes(code))
        .map((code) => `${file}: ${code}`),
    )
    expect(files.length).toBeGreaterThan(10)
    expect(strangers).toEqual([])
  })
})

test('an error has step and index only when there is one', () => {
  expect(Object.keys(new ResNetError('ERR_RESNET_IO', 'x'))).toEqual(['name', 'code'])
  expect(new ResNetError('ERR_RESNET_IO', 'x', { index: 0, step: 'fc' })).toMatchObject({
    index: 0,
    step: 'fc',
  })
})
