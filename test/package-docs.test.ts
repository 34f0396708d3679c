import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { packageRoot } from '../lib/root.js'

const read = (file: string) => readFileSync(path.join(packageRoot, file), 'utf8')
const pages = [
  'README.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  'models/README.md',
  ...readdirSync(path.join(packageRoot, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
]

/** A heading's anchor as GitHub makes it. */
const anchorOf = (heading: string) =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-')
const anchors = (file: string) =>
  [...read(file).matchAll(/^#+ +(.*)$/gm)].map(([, heading = '']) => anchorOf(heading))

describe.each(pages)('%s', (page) => {
  const text = read(page)

  test('links to files and headings that are there', () => {
    for (const [, target = ''] of text.matchAll(/\]\((?!\w+:)([^)\s]+)\)/g)) {
      const [file = '', anchor] = target.split('#')
      const linked = file === '' ? page : path.join(path.dirname(page), file)
      expect({ target, exists: existsSync(path.join(packageRoot, linked)) }).toEqual({ target, exists: true })
      if (anchor !== undefined) expect(anchors(linked)).toContain(anchor)
    }
  })

  test('names files and scripts that are there', () => {
    const folders = 'lib|native|test|scripts|bench|docs|models'
    const named = text.matchAll(new RegExp(`\`((?:${folders})/[\\w./-]+\\.\\w+)\``, 'g'))
    for (const [, file = ''] of named) {
      expect({ file, exists: existsSync(path.join(packageRoot, file)) }).toEqual({ file, exists: true })
    }
    const { scripts } = JSON.parse(read('package.json'))
    for (const [, name = ''] of text.matchAll(/npm run ([\w:-]+)/g)) expect(scripts).toHaveProperty([name])
  })
})
