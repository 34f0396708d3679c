import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import {
  appendFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { packageRoot } from '../lib/root.js'

const cli = path.join(packageRoot, 'dist', 'cli', 'main.js')
const sample = (digit: number) => path.join(packageRoot, 'models', 'samples', `${digit}.png`)

let folder: string
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'resnet-resume-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const run = (...args: string[]) =>
  spawnSync(process.execPath, [cli, ...args], { cwd: folder, encoding: 'utf8', timeout: 60_000 })
const read = (file: string) => readFileSync(path.join(folder, file), 'utf8')
interface Line {
  file: string
  predictions?: { index: number }[]
  error?: { code: string }
}
const lines = (file: string): Line[] =>
  read(file)
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))

/** A folder of `count` images: links to the ten samples. */
function photos(count: number, name = 'photos'): string[] {
  mkdirSync(path.join(folder, name))
  return Array.from({ length: count }, (_, i) => {
    const file = path.join(name, `${String(i).padStart(5, '0')}.png`)
    linkSync(sample(i % 10), path.join(folder, file))
    return file
  })
}

/** Waits until a file has at least so many bytes. */
async function grown(file: string, bytes: number, child: ChildProcess): Promise<void> {
  while (child.exitCode === null) {
    if (existsSync(file) && statSync(file).size >= bytes) return
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  throw new Error(`the run ended before '${file}' had ${bytes} bytes`)
}

test('killed in the middle, again and again, each image is there exactly once', async () => {
  const count = 5000
  const files = photos(count)
  const output = path.join(folder, 'out.ndjson')
  const args = [cli, 'classify', 'photos', '--top', '1', '--output', 'out.ndjson', '--resume']
  for (const share of [0.15, 0.4, 0.7]) {
    const child = spawn(process.execPath, args, { cwd: folder, stdio: 'ignore' })
    const over = new Promise((resolve) => child.on('exit', (_, signal) => resolve(signal)))
    await grown(output, share * count * 90, child)
    child.kill('SIGKILL')
    expect(await over).toBe('SIGKILL')
    expect(read('out.ndjson').split('\n').length).toBeLessThan(count)
  }
  const { status, stderr } = run(...args.slice(1))
  expect(stderr).toMatch(/[1-9]\d* of 5000 images have their results/)
  expect(status).toBe(0)
  const results = lines('out.ndjson')
  expect(results.map(({ file }) => file)).toEqual(files)
  for (const [i, { predictions }] of results.entries()) expect(predictions?.[0]?.index).toBe(i % 10)
}, 120_000)

test('a torn last line is cut, wherever it was torn', () => {
  const files = photos(4)
  run('classify', 'photos', '--top', '1', '--output', 'whole.ndjson')
  const whole = readFileSync(path.join(folder, 'whole.ndjson'))
  const [, second = 0] = [...whole.entries()].filter(([, byte]) => byte === 0x0a).map(([at]) => at)
  for (const torn of [second + 2, second + 9, second + 25, second, whole.length - 1, 1, 0]) {
    writeFileSync(path.join(folder, 'out.ndjson'), whole.subarray(0, torn))
    expect(run('classify', 'photos', '--top', '1', '--output', 'out.ndjson', '--resume').status).toBe(0)
    expect(lines('out.ndjson').map(({ file }) => file)).toEqual(files)
  }
})

test('a finished run has nothing left to do, new images are added', () => {
  photos(2)
  const args = ['embed', 'photos', '--output', 'out.jsonl', '--resume']
  expect(run(...args).status).toBe(0)
  const before = read('out.jsonl')
  expect(run(...args).stderr).toContain('2 of 2 images have their results.')
  expect(read('out.jsonl')).toBe(before)
  linkSync(sample(7), path.join(folder, 'photos', 'new.png'))
  expect(run(...args).status).toBe(0)
  expect(lines('out.jsonl').map(({ file }) => path.basename(file))).toEqual([
    '00000.png',
    '00001.png',
    'new.png',
  ])
})

test('a failed image has its result, and still fails the run; one named twice has two', () => {
  const [first = ''] = photos(1)
  writeFileSync(path.join(folder, 'torn.png'), 'no image')
  const args = ['classify', 'torn.png', first, first, '--output', 'out.ndjson', '--resume']
  expect(run(...args).status).toBe(1)
  expect(run(...args).status).toBe(1)
  expect(lines('out.ndjson').map(({ file, error }) => error?.code ?? file)).toEqual([
    'ERR_RESNET_IMAGE',
    first,
    first,
  ])
  expect(run('classify', first, first, first, '--output', 'out.ndjson', '--resume').status).toBe(1)
  expect(lines('out.ndjson').filter(({ file }) => file === first)).toHaveLength(3)
})

describe('what is refused, and left as it is', () => {
  test.each([
    ['text', 'my notes\nand more\n', "'my notes' as line 1"],
    ['text without an end', 'my notes', "'my notes' as line 1"],
    ['the results of the other command', '{"file":"a.png","embedding":[1]}\n', 'as line 1'],
    ['JSON that is no result', '{"file":"a.png","predictions":[]}\n[1]\n', "'[1]' as line 2"],
  ])('%s', (_, content, word) => {
    photos(1)
    writeFileSync(path.join(folder, 'out.ndjson'), content)
    const { status, stderr } = run('classify', 'photos', '--output', 'out.ndjson', '--resume')
    expect(status).toBe(2)
    expect(stderr).toContain(word)
    expect(read('out.ndjson')).toBe(content)
  })

  test('a large file of something else, of which hardly anything is read', () => {
    photos(1)
    const file = path.join(folder, 'out.ndjson')
    writeFileSync(file, 'video')
    truncateSync(file, 2 ** 32)
    const begun = performance.now()
    const { status, stderr } = run('classify', 'photos', '--output', 'out.ndjson', '--resume')
    expect(status).toBe(2)
    expect(stderr).toMatch(/received 'video.*' as line 1/)
    expect(performance.now() - begun).toBeLessThan(10_000)
    expect(statSync(file).size).toBe(2 ** 32)
  })

  test('what is no file', () => {
    photos(1)
    const { status, stderr } = run('classify', 'photos', '--output', '/dev/null', '--resume')
    expect(status).toBe(2)
    expect(stderr).toContain(
      "The output file '/dev/null' cannot be read: it is no file that a run could go on with.",
    )
  })

  test('no file to go on with', () => {
    const { status, stderr } = run('classify', 'photos', '--resume')
    expect(status).toBe(2)
    expect(stderr).toContain('--resume needs --output')
  })
})

test('without --resume a file is written anew, as text unless its name or --json says otherwise', () => {
  photos(1)
  appendFileSync(path.join(folder, 'out.txt'), 'old')
  run('classify', 'photos', '--output', 'out.txt', '--top', '1')
  expect(read('out.txt')).toMatch(/^photos.00000\.png\n +\d+\.\d % {2}handwritten 0\n$/)
})
