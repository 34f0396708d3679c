// `resnet doctor --model`: how every step of a network runs, on the CPU and on the simulated CUDA device, in processes of
// their own. docs/devices.md shows what is printed here.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { ExplainRow } from '../binding.js'
import { models, ResNet, Tensor } from '../lib/index.js'

const root = path.join(__dirname, '..')
const main = path.join(root, 'dist', 'cli', 'main.js')
const built = process.env.RESNET_SIMULATED ?? path.join(root, 'build', 'test', 'cuda')
const simulated = path.join(built, 'libresnet_cuda.so')

const scratch = mkdtempSync(path.join(tmpdir(), 'resnet-doctor-model-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

/** The machine's own CUDA is kept out of it. */
const { RESNET_CUDNN, RESNET_CUDNN_DIR, RESNET_CUDA_PLUGIN, VIRTUAL_ENV, CONDA_PREFIX, ...bare } = process.env
function doctor(args: string[], env: NodeJS.ProcessEnv = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, 'doctor', ...args], {
    cwd: scratch,
    env: { ...bare, XDG_CACHE_HOME: path.join(scratch, 'cache'), ...env },
    encoding: 'utf8',
  })
  return { status, stdout, stderr }
}

interface Run {
  model: string
  weights: string
  architecture: string
  batch: number
  height: number
  width: number
  device: { device: string; dtype: string; ceilings?: { source: string } }
  rows: ExplainRow[]
  error?: { code: string; message: string }
}
function report(args: string[], env: NodeJS.ProcessEnv = {}) {
  const { status, stdout, stderr } = doctor([...args, '--json'], env)
  expect(stderr).toBe('')
  const { ok, problems, model } = JSON.parse(stdout) as { ok: boolean; problems: string[]; model: Run }
  return { status, ok, problems, model }
}

/** What a table's line has of a row, by columns; a dash is what is not known. */
const cellsOf = ({ step, milliseconds, workspaceBytes, share, implementation }: ExplainRow) => [
  step,
  milliseconds > 0 ? '\\d+\\.\\d{4}' : '-',
  workspaceBytes > 0 ? '\\d+\\.\\d\\d MiB' : '-',
  share > 0 ? '\\d+\\.\\d %' : '-',
  // Times in it differ from run to run.
  implementation
    .replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
    .replace(/\d+\\\.\d{4} ms in (the|an earlier) race/g, '.*'),
]
/** The table has these rows in this order, each followed by what was refused. */
function expectTable(text: string, rows: readonly ExplainRow[]) {
  const lines = text.split('\n')
  let at = lines.findIndex((line) => /^ {2}step +ms +workspace +share +runs as$/.test(line))
  expect(at).toBeGreaterThan(0)
  for (const row of rows) {
    expect(lines[++at]).toMatch(new RegExp(`^ {2}${cellsOf(row).join(' +')}$`))
    for (const _ of row.refused) expect(lines[++at]).toMatch(/^ {20,}not \S/)
  }
  expect(lines[++at]).toBe('')
}

test("on the CPU has the model's own rows, after a run", async () => {
  const { status, ok, problems, model: said } = report(['--model', models.digits, '--device', 'cpu'])
  expect({ status, ok, problems }).toEqual({ status: 0, ok: true, problems: [] })
  expect(said).toMatchObject({
    model: models.digits,
    weights: 'checkpoint',
    architecture: 'resnet20',
    batch: 1,
  })
  expect(said.device).toMatchObject({ device: 'cpu', dtype: 'float32' })
  const model = await ResNet.load(models.digits, { device: 'cpu', maxBatch: 1 })
  const { height, width } = said
  await model.forward(
    Tensor.from(new Float32Array(model.architecture.inChannels * height * width), [
      1,
      model.architecture.inChannels,
      height,
      width,
    ]),
  )
  const own = await model.explain({ height, width })
  await model.dispose()
  const still = (rows: readonly ExplainRow[]) => rows.map(({ milliseconds, ...rest }) => rest)
  expect(still(said.rows)).toEqual(still(own))
  const convolutions = said.rows.filter(({ kind }) => kind === 'conv')
  expect(convolutions).toHaveLength(21) // two of them shortcuts
  for (const { milliseconds, share } of convolutions) {
    expect(milliseconds).toBeGreaterThan(0)
    expect(share).toBe(0) // the CPU's ceilings are not known
  }
})

test('prints a table: step, time, workspace, share, kernel, and what was refused', () => {
  const args = ['--model', models.digits, '--device', 'cpu', '--batch', '3', '--size', '40']
  const { rows } = report(args).model
  const { status, stdout, stderr } = doctor(args)
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  expect(stdout).toContain(`model      ${models.digits}, resnet20; 3 images of 40x40\n`)
  expect(stdout).toMatch(/\n {2}runs on {2}cpu, .*, \d+ threads?, float32\n/)
  expect(stdout).toContain('\n  ceilings not known; resnet bench --limits --layers')
  expectTable(stdout, rows)
  expect(rows.some(({ refused }) => refused.length > 0)).toBe(true)
  expect(stdout).toMatch(/All is well\.\n$/)
})

test('takes an architecture by name, with random weights; a folder of that name goes first', () => {
  const { status, model } = report(['--model', 'resnet20', '--device', 'cpu'])
  expect(status).toBe(0)
  expect(model).toMatchObject({ weights: 'random', architecture: 'resnet20', height: 32, width: 32 })
  mkdirSync(path.join(scratch, 'resnet18'))
  const { status: failed, model: folder } = report(['--model', 'resnet18', '--device', 'cpu'])
  expect(failed).toBe(1)
  expect(folder.error).toMatchObject({
    code: 'ERR_RESNET_IO',
    message: expect.stringContaining("'resnet18'"),
  })
})

test.each([
  [
    'a file that is not there',
    ['--model', 'absent/resnet50.safetensors'],
    'ERR_RESNET_IO',
    /cannot read 'absent/,
  ],
  [
    'a name that is none',
    ['--model', 'resnet51'],
    'ERR_RESNET_IO',
    /one of resnet18, .* received 'resnet51'/,
  ],
  ['a file that is no checkpoint', ['--model', __filename], 'ERR_RESNET_CORRUPT', /doctor-model/],
])('%s is a problem, with its code and exit status 1', (_, args, code, words) => {
  const { status, ok, problems, model } = report([...args, '--device', 'cpu'])
  expect({ status, ok }).toEqual({ status: 1, ok: false })
  expect(model).toEqual({ model: args[1], error: { code, message: expect.stringMatching(words) } })
  expect(problems).toEqual([`The model '${args[1]}' cannot be run (${code}): ${model.error?.message}`])
  const { stdout } = doctor([...args, '--device', 'cpu'])
  expect(stdout).toContain(`model      ${args[1]}: ${code}\n`)
  expect(stdout).toMatch(new RegExp(`Something is wrong:\\n {2}- The model '.*' cannot be run \\(${code}\\)`))
})

test("CUDA that is asked for and not there is the model's problem", () => {
  // Without a driver; the CPU's backend would be found by nobody.
  const env = { RESNET_CUDA_PLUGIN: path.join(scratch, 'absent.so') }
  const { status, problems, model } = report(['--model', models.digits, '--device', 'cuda'], env)
  expect(status).toBe(1)
  expect(model.error?.code).toBe('ERR_RESNET_UNAVAILABLE')
  expect(problems.at(-1)).toContain('(ERR_RESNET_UNAVAILABLE): ')
  expect(problems.at(-1)).toContain("device: 'cuda' cannot be used; ")
})

test.each([
  [['--batch', '2'], /name a model/],
  [['--device', 'cpu', '--json'], /name a model/],
  [['--model', 'resnet18', '--batch', '0'], /a whole number from 1 to 1024/],
  [['--model', 'resnet18', '--batch', '1025'], /a whole number from 1 to 1024/],
  [['--model', 'resnet18', '--device', 'gpu'], /'auto', 'cpu', 'cuda' or 'cuda:1'/],
])('%j is wrong usage', (args, words) => {
  const { status, stdout, stderr } = doctor(args)
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' })
  expect(stderr).toMatch(words)
})

const withSimulated = existsSync(simulated) ? describe : describe.skip
withSimulated('on the simulated CUDA device', () => {
  const env = { RESNET_CUDA_PLUGIN: simulated }
  const args = ['--model', models.digits, '--device', 'cuda']

  test("shows every step's engine, time, workspace, share and what was refused, and how the batch runs", () => {
    const { status, problems, model } = report(args, env)
    expect({ status, problems }).toEqual({ status: 0, problems: [] })
    expect(model.device).toMatchObject({ device: 'cuda:0', dtype: 'float16' })
    const { rows } = model
    expect(rows.at(-1)).toMatchObject({ step: 'batch', kind: 'schedule' })
    for (const row of rows.filter(({ kind }) => kind === 'conv' || kind === 'linear')) {
      expect(row.implementation).toMatch(/^cudnn (matmul )?eng\d/)
      expect(row.milliseconds).toBeGreaterThan(0)
      expect(row.share).toBeGreaterThan(0)
      // Others that were beaten, with their times, or refused, with the reason.
      expect(row.refused.length).toBeGreaterThan(0)
    }
    expect(rows.some(({ workspaceBytes }) => workspaceBytes > 0)).toBe(true)

    const { status: printed, stdout } = doctor(args, env)
    expect(printed).toBe(0)
    expect(stdout).toMatch(
      /\n {2}runs on {2}cuda:0, Simulated device 0, sm_90, float16\n {2}ceilings theoretical: /,
    )
    expectTable(stdout, rows)
    expect(stdout).toMatch(/\n {2}batch .* one track, images forward, one CUDA graph\n/)
  }, 240_000)

  test('a device that is not there is a problem', () => {
    const { status, model } = report(['--model', models.digits, '--device', 'cuda:7'], env)
    expect(status).toBe(1)
    expect(model.error?.code).toBe('ERR_RESNET_UNAVAILABLE')
  }, 240_000)
})
