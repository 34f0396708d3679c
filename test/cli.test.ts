// The command line in child processes: results, order, exit codes, what is said where.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expandInputs } from '../lib/cli/inputs.js'
import { Progress } from '../lib/cli/progress.js'

const root = path.join(__dirname, '..')
const main = path.join(root, 'dist', 'cli', 'main.js')
const digits = path.join(root, 'models', 'digits.safetensors')
const samples = path.join(root, 'models', 'samples')
const images = path.join(__dirname, 'fixtures', 'images')

interface Line {
  file: string
  predictions?: { label: string; index: number; score: number }[]
  embedding?: number[]
  error?: { code: string; message: string }
}

let scratch: string
beforeAll(() => {
  if (!existsSync(main)) throw new Error("dist/ is missing; run 'npm test', or 'npm run build' first")
  scratch = mkdtempSync(path.join(tmpdir(), 'resnet-cli-'))
})
afterAll(() => rmSync(scratch, { recursive: true }))

function resnet(args: string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], {
    cwd: options.cwd ?? scratch,
    env: { ...process.env, ...options.env },
    encoding: 'utf8',
  })
  return { status, stdout, stderr }
}
const linesOf = (text: string): Line[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))

function write(name: string, bytes: Uint8Array | string): string {
  const file = path.join(scratch, name)
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, bytes)
  return file
}

describe('classify', () => {
  it('names the held-out digits, for people', () => {
    const { status, stdout, stderr } = resnet(['classify', 'models/samples/3.png', '--top', '2'], {
      cwd: root,
    })
    expect(status).toBe(0)
    expect(stdout).toMatch(
      /^models\/samples\/3\.png\n {2}[ \d.]{5} % {2}handwritten 3\n {2}[ \d.]{5} % {2}handwritten \d\n$/,
    )
    expect(stderr).toMatch(/knows handwritten digits and nothing else/)
  })

  it('prints one JSON object a line, in the order of the inputs', () => {
    const order = [7, 0, 3, 3, 9]
    const files = order.map((digit) => path.join(samples, `${digit}.png`))
    const { status, stdout } = resnet(['classify', ...files, '--json', '-n', '3'])
    expect(status).toBe(0)
    const lines = linesOf(stdout)
    expect(lines.map(({ file }) => file)).toEqual(files)
    expect(lines.map(({ predictions }) => predictions?.[0]?.index)).toEqual(order)
    for (const line of lines) {
      expect(Object.keys(line)).toEqual(['file', 'predictions'])
      expect(line.predictions).toHaveLength(3)
      for (const prediction of line.predictions ?? []) {
        expect(Object.keys(prediction)).toEqual(['label', 'index', 'score'])
        expect(prediction.label).toBe(`handwritten ${prediction.index}`)
        expect(prediction.score).toBeGreaterThanOrEqual(0)
        expect(prediction.score).toBeLessThanOrEqual(1)
      }
    }
  })

  it('leaves an output file alone when the model cannot be loaded', () => {
    const output = write('earlier.jsonl', 'earlier results')
    const { status } = resnet([
      'classify',
      path.join(samples, '4.png'),
      '--model',
      'absent',
      '--output',
      output,
    ])
    expect([status, readFileSync(output, 'utf8')]).toEqual([3, 'earlier results'])
  })

  it('walks folders and expands patterns, images only, sorted', () => {
    const folder = path.join(scratch, 'tree')
    for (const name of ['b/2.png', 'a/deep/1.PNG', '0.png']) {
      mkdirSync(path.dirname(path.join(folder, name)), { recursive: true })
      copyFileSync(path.join(samples, '1.png'), path.join(folder, name))
    }
    writeFileSync(path.join(folder, 'notes.txt'), 'not an image')
    symlinkSync('..', path.join(folder, 'b', 'up'))
    const walked = resnet(['classify', 'tree', '--json'])
    expect([walked.status, linesOf(walked.stdout).map(({ file }) => file)]).toEqual([
      0,
      ['tree/0.png', 'tree/a/deep/1.PNG', 'tree/b/2.png'],
    ])
    const matched = resnet(['classify', 'tree/b/*', 'tree/*.png', '--json'])
    expect([matched.status, linesOf(matched.stdout).map(({ file }) => file)]).toEqual([
      0,
      ['tree/b/2.png', 'tree/0.png'],
    ])
  })

  const onUnix = process.platform === 'win32' ? it.skip : it
  onUnix('finds every file of a folder, whatever its name, and links to files', async () => {
    const folder = path.join(scratch, 'odd \\ [x] {a,b} *')
    const names = [
      'back\\slash.png',
      'new\nline/1.png',
      '\u2028.png',
      '(a|b)/!x.png',
      '*?.png',
      '{"file":.png',
    ]
    for (const name of names) {
      mkdirSync(path.dirname(path.join(folder, name)), { recursive: true })
      writeFileSync(path.join(folder, name), '')
    }
    mkdirSync(path.join(folder, '.hidden'))
    writeFileSync(path.join(folder, '.hidden', '1.png'), '')
    symlinkSync(path.join(samples, '1.png'), path.join(folder, 'link.png'))
    symlinkSync('nowhere', path.join(folder, 'dead.png'))
    symlinkSync('.', path.join(folder, 'again.png'))
    const found = await expandInputs([folder])
    expect(found.map(({ file }) => path.relative(folder, file))).toEqual(
      [...names, 'link.png', 'dead.png'].sort(),
    )
  })

  it('takes more files than a function has arguments', () => {
    const folder = path.join(scratch, 'many')
    mkdirSync(folder)
    for (let i = 0; i < 30_000; ++i) writeFileSync(path.join(folder, `${i}.png`), '')
    const program = `require(${JSON.stringify(path.join(root, 'dist', 'cli', 'inputs.js'))})
      .expandInputs(['many']).then((inputs) => console.log(inputs.length))`
    // A smaller stack for fewer files.
    const { stdout, stderr } = spawnSync(process.execPath, ['--stack-size=200', '-e', program], {
      cwd: scratch,
      encoding: 'utf8',
    })
    expect([stdout, stderr]).toEqual(['30000\n', ''])
  }, 30_000)

  it('takes a file whose name looks like a pattern', () => {
    copyFileSync(path.join(samples, '5.png'), path.join(scratch, 'scan [5].png'))
    const { status, stdout } = resnet(['classify', 'scan [5].png', '--json'])
    expect(status).toBe(0)
    expect(linesOf(stdout)[0]?.predictions?.[0]?.index).toBe(5)
  })

  const onLinux = existsSync('/dev/full') ? it : it.skip
  onLinux('fails when the last of the results does not fit on the disk (Linux only)', () => {
    const { status, stderr } = resnet(['classify', path.join(samples, '4.png'), '--output', '/dev/full'])
    expect(status).toBe(1)
    expect(stderr).toMatch(/The results cannot be written: ENOSPC/)
  })

  it('writes to a file, and says nothing of digits about another model', () => {
    const output = path.join(scratch, 'labels.jsonl')
    const { status, stdout, stderr } = resnet([
      ...['classify', path.join(samples, '4.png'), '--model', digits],
      ...['--json', '--output', output, '--threads', '1', '--device', 'cpu'],
    ])
    expect([status, stdout, stderr]).toEqual([0, '', ''])
    expect(linesOf(readFileSync(output, 'utf8'))[0]?.predictions?.[0]?.index).toBe(4)
  })
})

describe('awkward inputs: the others are done, the exit code is 1', () => {
  it.each([
    'rgba.png',
    'cmyk.jpg',
    'grey16.png',
    'animated.gif',
    'palette-transparent.png',
    'grey-alpha.png',
  ])('%s is classified', (name) => {
    const { status, stdout } = resnet(['classify', path.join(images, name), '--json'])
    expect(status).toBe(0)
    expect(linesOf(stdout)[0]?.predictions).toHaveLength(5)
  })

  const rows: [string, () => string, string, RegExp][] = [
    ['zero bytes', () => write('empty.png', ''), 'ERR_RESNET_IMAGE', /zero bytes/],
    ['no image', () => write('text.png', 'hello'), 'ERR_RESNET_IMAGE', /cannot be read as one/],
    [
      'a truncated JPEG',
      () => write('cut.jpg', readFileSync(path.join(images, 'china.jpg')).subarray(0, 9000)),
      'ERR_RESNET_IMAGE',
      /damaged or cut short/,
    ],
    ['no such file', () => 'absent.png', 'ERR_RESNET_IO', /no image file 'absent.png'/],
    [
      'a folder without images',
      () => path.dirname(write('bare/readme.txt', '')),
      'ERR_RESNET_IO',
      /holds no image/,
    ],
    ['a pattern without images', () => 'none/*.png', 'ERR_RESNET_IO', /matches no image/],
    ['an unreachable address', () => 'http://127.0.0.1:1/cat.jpg', 'ERR_RESNET_IO', /cannot be fetched/],
  ]
  it.each(rows)('%s', (_, input, code, message) => {
    const bad = input()
    const good = path.join(samples, '6.png')
    const json = resnet(['classify', bad, good, '--json'])
    expect(json.status).toBe(1)
    const [first, second] = linesOf(json.stdout)
    expect(first).toEqual({ file: bad, error: { code, message: expect.stringMatching(message) } })
    expect(second?.predictions?.[0]?.index).toBe(6)
    expect(json.stderr).toMatch(/1 of 2 images failed/)
    const plain = resnet(['classify', bad])
    expect([plain.status, plain.stdout]).toEqual([1, ''])
    expect(plain.stderr).toMatch(message)
    expect(plain.stderr).toContain(code)
  })
})

describe('embed', () => {
  it('prints the vector of each image', () => {
    const { status, stdout } = resnet([
      'embed',
      path.join(samples, '1.png'),
      path.join(samples, '2.png'),
      '--json',
    ])
    expect(status).toBe(0)
    const [one, two] = linesOf(stdout)
    expect(Object.keys(one ?? {})).toEqual(['file', 'embedding'])
    expect(one?.embedding).toHaveLength(64)
    expect(one?.embedding?.every(Number.isFinite)).toBe(true)
    expect(one?.embedding).not.toEqual(two?.embedding)
  })

  it('shows people the beginning', () => {
    const { status, stdout } = resnet(['embed', path.join(samples, '1.png')])
    expect(status).toBe(0)
    expect(stdout).toMatch(/64 numbers: (-?\d+\.\d{4} ){6}… \(all of them with --json\)/)
  })
})

describe('wrong usage ends with 2 and says what is expected', () => {
  const rows: [string[], RegExp][] = [
    [['classify'], /missing required argument 'images'/],
    [['clasify', 'a.png'], /unknown command 'clasify'[\s\S]*classify/],
    [['classify', 'a.png', '--tpo', '3'], /unknown option '--tpo'[\s\S]*--top/],
    [['classify', 'a.png', '--top', '0'], /at least 1/],
    [['classify', 'a.png', '--threads', 'two'], /at least 1/],
    [['classify', 'a.png', '--device', 'tpu'], /'auto', 'cpu', 'cuda' or 'cuda:1'/],
    [['embed', 'a.png', '--top', '3'], /unknown option '--top'/],
    [['classify', '-'], /standard input/],
    [
      ['classify', 'a.png', '--output', 'no/such/folder/x.jsonl'],
      /'no\/such\/folder\/x\.jsonl' cannot be written: .* \(ERR_RESNET_IO\)/,
    ],
    [['info'], /missing required argument 'checkpoint'/],
    [['bench', '--load', 'Infinity'], /numbers from 0\.01 to 10/],
    [['bench', '--load', '50'], /numbers from 0\.01 to 10/],
    [['bench', '--rate', '1e9'], /numbers from 0\.01 to 1000000/],
    [['bench', '--batch', '1,,8'], /whole numbers of at least 1/],
    [['bench', '--threads', ''], /whole numbers of at least 0/],
    [['bench', '--network', ','], /Expected names/],
    [['bench', '--dtype', ''], /names among float32/],
    [['bench', '--peer', ''], /names among onnxruntime-node/],
    [[], /Usage: resnet/],
  ]
  it.each(rows)('%j', (args, message) => {
    const { status, stdout, stderr } = resnet(args)
    expect([status, stdout]).toEqual([2, ''])
    expect(stderr).toMatch(message)
  })
})

describe('a model that cannot be loaded ends with 3', () => {
  const checkpoint = () => readFileSync(digits)
  const rows: [string, () => string, string][] = [
    ['a missing file', () => 'absent.safetensors', 'ERR_RESNET_IO'],
    [
      'a truncated checkpoint',
      () => write('cut.safetensors', checkpoint().subarray(0, 300_000)),
      'ERR_RESNET_CORRUPT',
    ],
    [
      'a text file by that name',
      () => write('text.safetensors', 'this is not a checkpoint'),
      'ERR_RESNET_CORRUPT',
    ],
    ['an empty file', () => write('empty.safetensors', ''), 'ERR_RESNET_CORRUPT'],
    ['a folder without a model', () => path.dirname(write('empty-model/readme.txt', '')), 'ERR_RESNET_IO'],
    ['a pickle', () => write('resnet50.pth', 'PK'), 'ERR_RESNET_UNSUPPORTED'],
    ['an address', () => 'https://example.org/resnet50.safetensors', 'ERR_RESNET_INVALID_ARGUMENT'],
  ]
  it.each(rows)('%s', (_, source, code) => {
    const model = source()
    for (const args of [
      ['classify', path.join(samples, '0.png'), '--json', '--model', model],
      ['info', model],
    ]) {
      const { status, stdout, stderr } = resnet(args)
      expect([status, stdout]).toEqual([3, ''])
      expect(stderr).toContain(`the model could not be loaded (${code})`)
      expect(stderr).not.toMatch(/\n {4}at /)
    }
  })
})

describe('info', () => {
  it('describes a checkpoint', () => {
    const { status, stdout } = resnet(['info', digits])
    expect(status).toBe(0)
    expect(stdout).toMatch(/network +resnet20: basic blocks 3, 3, 3/)
    expect(stdout).toMatch(/labels +the checkpoint's metadata: 'handwritten 0'/)
    expect(stdout).toMatch(/parameters +27\d,\d{3} /)
  })

  it('gives everything as JSON', () => {
    const { status, stdout } = resnet(['info', digits, '--json'])
    expect(status).toBe(0)
    const info = JSON.parse(stdout)
    expect(info).toMatchObject({
      file: digits,
      architecture: { name: 'resnet20', numClasses: 10 },
      labels: { count: 10, names: expect.arrayContaining(['handwritten 9']) },
      preprocessing: { source: 'metadata' },
    })
    const head = info.tensors.find(({ name }: { name: string }) => name === 'fc.weight')
    expect(head).toMatchObject({ shape: [10, 64], dtype: expect.any(String) })
  })
})

describe('doctor', () => {
  it('tests itself', () => {
    const { status, stdout } = resnet(['doctor'])
    expect(status).toBe(0)
    expect(stdout).toMatch(/self-test +passed: 10 of 10/)
    expect(stdout).toMatch(/All is well\.\n$/)
  })

  it('reports as JSON', () => {
    const { status, stdout } = resnet(['doctor', '--json'])
    expect(status).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({
      ok: true,
      node: process.version,
      platform: `${process.platform}-${process.arch}`,
      binary: expect.stringMatching(/\.node$/),
      cpu: { isa: expect.any(String), threads: expect.any(Number), threadsFrom: expect.any(String) },
      images: {
        sharp: expect.any(String),
        libvips: expect.any(String),
        jpeg: { decoder: process.platform === 'linux' ? 'libturbojpeg' : 'sharp' },
      },
      cuda: { available: expect.any(Boolean), reason: expect.any(String), tried: expect.any(Array) },
      selfTest: { ok: true, images: 10, correct: 10 },
      problems: [],
    })
  })

  it('says why sharp decodes JPEGs', () => {
    const { stdout } = resnet(['doctor'], { env: { RESNET_TURBOJPEG: 'off' } })
    expect(stdout).toMatch(/JPEG +decoded by sharp: RESNET_TURBOJPEG is off/)
  })

  it('says that a decoder asked for cannot be used', () => {
    const { status, stdout } = resnet(['doctor', '--json'], { env: { RESNET_TURBOJPEG: '/absent.so' } })
    expect(status).toBe(1)
    const { problems, images: found, selfTest, cuda } = JSON.parse(stdout)
    expect(problems).toEqual([expect.stringMatching(/cannot decode JPEGs with '\/absent\.so'/)])
    // No other decoder takes its place, and the rest is examined all the same.
    expect(found.jpeg).toEqual({ decoder: 'none', reason: problems[0] })
    expect(selfTest).toMatchObject({ ok: true, correct: 10 })
    expect(cuda.reason).not.toMatch(/addon/)
  })

  const plugin = (name: string) => path.join(root, 'build', 'test-plugins', `lib${name}.so`)
  const cpuPlugin = plugin('resnet_cpu_plugin')

  it('lists the devices of a backend that works, and tests it', () => {
    const { status, stdout } = resnet(['doctor'], { env: { RESNET_CUDA_PLUGIN: cpuPlugin } })
    expect(status).toBe(0)
    expect(stdout).toMatch(/CUDA +yes, backend 0\.0\.0-test\n/)
    expect(stdout).toMatch(/driver +1\.0; runtime 2\.0\n/)
    expect(stdout).toMatch(/cuDNN +3\.0, \/test\/libcudnn\.so\n/)
    expect(stdout).toMatch(/NVML +4\.0\n/)
    expect(stdout).toMatch(
      /cuda:1 +Test device, compute capability 9\.0, 4 SMs, 1\.0 GiB, 0\.5 GiB free, 3 MiB of this process, a MIG slice\n/,
    )
    expect(stdout.match(/self-test +passed: 10 of 10/g)).toHaveLength(2)
  })

  it.each([
    ['the reason that the backend gives', cpuPlugin, 'cuDNN 9.1.0 found, expected 9.10 or newer'],
    ['a backend of another version', plugin('resnet_foreign_plugin_1'), 'it speaks version 44 of the plugin'],
    ['a library that is none', plugin('resnet_foreign_plugin_4'), 'it is no plugin of resnet'],
    ['a file that is not there', '/nonexistent/plugin.so', 'No such file'],
  ])('says why CUDA cannot be used: %s', (_, file, reason) => {
    const env = { RESNET_CUDA_PLUGIN: file, RESNET_TEST_PLUGIN_REASON: reason }
    const { status, stdout } = resnet(['doctor', '--json'], { env })
    expect(status).toBe(1)
    const { cuda, problems } = JSON.parse(stdout)
    expect(cuda).toMatchObject({ available: false, tried: [{ path: file, outcome: expect.any(String) }] })
    expect(cuda.reason).toContain(reason)
    expect(problems).toEqual([expect.stringContaining(reason)])
  })

  it('says what is wrong', () => {
    const { status, stdout } = resnet(['doctor', '--json'], { env: { RESNET_ISA: 'quantum' } })
    expect(status).toBe(1)
    const { ok, problems } = JSON.parse(stdout)
    expect(ok).toBe(false)
    expect(problems[0]).toMatch(/RESNET_ISA asks for 'quantum'/)
  })
})

describe('help', () => {
  it.each([[], ['classify'], ['embed'], ['info'], ['doctor']].map((command) => [command]))(
    '%j --help',
    (command) => {
      const { status, stdout, stderr } = resnet([...command, '--help'])
      expect([status, stderr]).toEqual([0, ''])
      expect(stdout).toMatch(/^Usage: resnet/)
      expect(stdout).toMatch(/Exit code/)
    },
  )

  it('prints the version', () => {
    const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))
    expect(resnet(['--version'])).toEqual({ status: 0, stdout: `${version}\n`, stderr: '' })
  })
})

describe('ending early', () => {
  const many = Array<string>(4000).fill(path.join(samples, '8.png'))

  async function startMany(): Promise<{ child: ChildProcess; errors: () => string }> {
    const child = spawn(process.execPath, [main, 'classify', '--model', digits, ...many])
    let errors = ''
    child.stderr.setEncoding('utf8').on('data', (text) => {
      errors += text
    })
    await once(child.stdout, 'data')
    child.stdout.resume()
    return { child, errors: () => errors }
  }

  it('stops cleanly when interrupted', async () => {
    const { child, errors } = await startMany()
    const ended = once(child, 'close')
    child.kill('SIGINT')
    expect(await ended).toEqual([130, null])
    expect(errors()).toBe('')
  })

  it('stops silently when nobody reads', async () => {
    const { child, errors } = await startMany()
    const ended = once(child, 'exit')
    child.stdout?.destroy()
    expect(await ended).toEqual([0, null])
    expect(errors()).toBe('')
  })
})

it('says nothing when nobody reads the little that it prints', async () => {
  for (const args of [['info', digits, '--json'], ['doctor'], ['--help']]) {
    const child = spawn(process.execPath, [main, ...args])
    child.stdout.destroy()
    let errors = ''
    child.stderr.on('data', (text) => {
      errors += text
    })
    const [code] = await once(child, 'close')
    expect({ args, code, errors }).toEqual({ args, code: 0, errors: '' })
  }
})

describe('the progress bar', () => {
  let written: string[]
  const wasTerminal = process.stderr.isTTY
  beforeEach(() => {
    written = []
    jest.spyOn(process.stderr, 'write').mockImplementation((text) => {
      written.push(String(text))
      return true
    })
  })
  afterEach(() => {
    jest.restoreAllMocks()
    process.stderr.isTTY = wasTerminal
  })

  function work(isTerminal: boolean): void {
    process.stderr.isTTY = isTerminal
    let now = 0
    jest.spyOn(performance, 'now').mockImplementation(() => now)
    const progress = new Progress(4)
    for (let done = 0; done < 3; done += 1) {
      now += 1000
      progress.advance()
    }
    progress.clear()
  }

  it('is drawn on a terminal and taken away', () => {
    work(true)
    expect(written).toHaveLength(4)
    expect(written[2]).toMatch(/█{18}░{6} 3\/4 {2}1\.0 images\/s {2}1 s left$/)
    expect(written[3]).toBe('\r\x1b[2K')
  })

  it('is not drawn elsewhere', () => {
    work(false)
    expect(written).toEqual([])
  })
})
