import { spawnSync } from 'node:child_process'
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { architectureNamed } from '../lib/architecture/families.js'
import { Budget, budgets, reserveSeconds } from '../lib/bench/gpu/budget.js'
import { errorOf, Tally } from '../lib/bench/gpu/compare.js'
import { gpuReport } from '../lib/bench/gpu/report.js'
import {
  assemble,
  type Ceiling,
  cardSlug,
  countsOf,
  type GpuResults,
  problemsOf,
  refusal,
  summaryOf,
  withShare,
} from '../lib/bench/gpu/results.js'
import { imagesPerSecond, measuredPlan, roofline } from '../lib/bench/gpu/roofline.js'
import {
  appendLine,
  completed,
  type Found,
  type Line,
  mendFile,
  outcomes,
  readLines,
} from '../lib/bench/gpu/state.js'
import { type Mode, phases, type Step, selectSteps, stepsOf } from '../lib/bench/gpu/steps.js'

const root = path.join(__dirname, '..')
const folder = mkdtempSync(path.join(tmpdir(), 'gpu-check-test-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('steps', () => {
  const ids = (mode: Mode) => stepsOf(mode).map(({ id }) => id)

  test('every program is there, every phase has steps', () => {
    for (const { program } of stepsOf('dry')) {
      const native = {
        resnet_gpu_probe: 'cuda/probe/probe.cu',
        device_kernels_test: 'test/cuda/device/device_kernels_test.cc',
      }
      const file = native[program.file as keyof typeof native] ?? `bench/gpu/${program.file}`
      expect({ file, there: existsSync(path.join(root, file)) }).toEqual({ file, there: true })
    }
    expect(new Set(stepsOf('full').map(({ phase }) => phase))).toEqual(new Set(Object.keys(phases)))
  })

  test('--quick is a part of a full run, card first; a rehearsal names all of them', () => {
    expect(ids('full')).toEqual(expect.arrayContaining(ids('quick')))
    expect(ids('quick')[0]).toBe('card.describe')
    expect(ids('dry')).toEqual(ids('full'))
    expect(stepsOf('full').every(({ deviceOnly }) => !deviceOnly)).toBe(true)
    expect(stepsOf('dry').filter(({ deviceOnly }) => deviceOnly).length).toBeGreaterThan(0)
  })

  test('a phase, a step, all from one on, what is done left out', () => {
    const all = stepsOf('full')
    const names = (selection: Parameters<typeof selectSteps>[1]) =>
      selectSteps(all, selection).map(({ id }) => id)
    expect(names({})).toEqual(ids('full'))
    expect(names({ only: ['card'] })).toEqual(['card.describe', 'card.probe', 'card.matrix'])
    expect(names({ only: ['speed.layers', 'card.probe'] })).toEqual(['card.probe', 'speed.layers'])
    expect(names({ from: 'reliability.outOfMemory' })[0]).toBe('reliability.outOfMemory')
    expect(names({ from: 'reliability' })).not.toContain('speed.memory')
    expect(names({ done: new Set(['card.probe']) })).not.toContain('card.probe')
    // What a step reads is made anew.
    expect(names({ only: ['accuracy.networks'] })).toEqual(['accuracy.reference', 'accuracy.networks'])
    expect(names({ only: ['accuracy'], done: new Set(['accuracy.reference']) })[1]).toBe('accuracy.reference')
    const most = new Set(['accuracy.reference', 'accuracy.networks', 'accuracy.operations'])
    expect(names({ only: ['accuracy'], done: most })).toEqual(['accuracy.kernels'])
    expect(names({ only: ['accuracy.operations'] })).toEqual(['accuracy.reference', 'accuracy.operations'])
    expect(() => names({ only: ['sped'] })).toThrow(/among card, accuracy, .*received 'sped'/)
    expect(() => names({ from: 'nowhere' })).toThrow(RangeError)
  })
})

describe('the budget', () => {
  /** Runs steps on a clock of its own: `takes` seconds each, or as long as they may; what each got, undefined where it was not run. */
  function rehearse(steps: Step[], seconds: number, takes: (step: Step) => number) {
    const budget = new Budget(steps, seconds)
    let spent = 0
    const given = new Map<string, number | undefined>()
    for (const step of steps) {
      const allowed = budget.allowance(step, spent)
      given.set(step.id, allowed)
      if (allowed !== undefined) spent += Math.min(allowed, takes(step))
    }
    return { spent, given, notRun: steps.filter(({ id }) => given.get(id) === undefined).map(({ id }) => id) }
  }
  const hanging = () => Number.POSITIVE_INFINITY
  const spareOf = (steps: Step[]) => steps.filter(({ spare }) => spare).map(({ id }) => id)

  test.each(['full', 'quick'] as const)('%s: the shares fit, with time to write the results', (mode) => {
    const steps = stepsOf(mode)
    const shares = steps.filter(({ spare }) => !spare).reduce((sum, { share }) => sum + share, 0)
    expect(shares).toBeLessThanOrEqual(budgets[mode] - reserveSeconds)
    expect(steps.filter(({ share, most }) => share > most)).toEqual([])
    expect(budgets.full).toBeLessThanOrEqual(9 * 60)
    expect(budgets.quick).toBeLessThanOrEqual(2 * 60)
  })

  test.each(['full', 'quick'] as const)(
    '%s: when every step hangs, each has its share all the same',
    (mode) => {
      const steps = stepsOf(mode)
      const { spent, given, notRun } = rehearse(steps, budgets[mode], hanging)
      expect(spent).toBeLessThanOrEqual(budgets[mode] - reserveSeconds)
      expect(notRun).toEqual(spareOf(steps))
      for (const { id, share, spare } of steps) {
        if (!spare) expect(given.get(id)).toBeGreaterThanOrEqual(share)
      }
    },
  )

  test('what steps leave goes to the next ones, and to those for which nothing is kept', () => {
    const steps = stepsOf('full')
    const { spent, given, notRun } = rehearse(steps, budgets.full, ({ share }) => share / 2)
    expect(given.get('card.probe')).toBe(30)
    expect(notRun).toEqual([])
    expect(spent).toBeLessThan(budgets.full)
    // One that hangs takes what there is over, up to its limit, and no one's share.
    const one = rehearse(steps, budgets.full, ({ id, share, most }) =>
      id === 'speed.resnet50-float16' ? Number.POSITIVE_INFINITY : Math.min(share, most),
    )
    expect(one.notRun).toEqual(spareOf(steps))
  })

  test('a budget too short for all is spent in order; what does not fit is not run', () => {
    const steps = stepsOf('full')
    const { given, notRun } = rehearse(steps, 100, ({ share }) => share)
    expect(given.get('card.matrix')).toBeGreaterThanOrEqual(20)
    expect(notRun).toContain('speed.resnet50-float16')
    expect(rehearse(steps, 1, hanging).notRun).toEqual(steps.map(({ id }) => id))
  })
})

describe('comparing with PyTorch', () => {
  test('the error is of the largest value; NaN is no answer', () => {
    expect(errorOf([1, 2, -3.5], [1, 2, -4])).toBe(0.125)
    expect(errorOf([1, Number.NaN], [1, 2])).toBeNaN()
    expect(() => errorOf([1], [1, 2])).toThrow(/expected 2 values, received 1/)
  })

  test('a wrong answer fails the check, and so does a control that is not refused', () => {
    const row = { case: 'a', error: 1e-4, bound: 1e-3, controlError: 0.2 }
    const of = (...rows: (typeof row)[]) => {
      const tally = new Tally('operations')
      for (const one of rows) tally.add(one)
      return tally.checks().map(({ good }) => good)
    }
    expect(of(row)).toEqual([true, true])
    expect(of(row, { ...row, error: 2e-3 })).toEqual([false, true])
    expect(of(row, { ...row, error: Number.NaN })).toEqual([false, true])
    expect(of(row, { ...row, controlError: 1e-3 })).toEqual([true, false])
    expect(of(row, { ...row, controlError: Number.NaN })).toEqual([true, false])
    expect(of()).toEqual([false, false])
    const tally = new Tally('operations')
    for (const one of [row, { ...row, case: 'b', error: 5e-4, controlError: 0.1 }]) tally.add(one)
    expect(tally.checks()).toEqual([
      {
        name: 'operations',
        good: true,
        detail: '2 of 2 answers within their bounds; closest to it: b, 5.0e-4 of 1.0e-3',
      },
      {
        name: 'operations: control, answers with one value changed',
        good: true,
        detail: '2 of 2 refused; the faintest: b, 1.0e-1, 1.0e-3 allowed',
      },
    ])
  })
})

const head: Line = { line: 'run', date: '2026-11-29T00:00:00.000Z', mode: 'full', version: '0.1.0' }
const found = (step: string, one: Found): Line => ({ line: 'found', step, found: one })
const ended = (step: string, status: 'done' | 'failed' = 'done'): Line => {
  return { line: 'end', step, status, seconds: 1, ...(status === 'done' ? {} : { reason: 'why' }) }
}

describe('state', () => {
  test('a run killed in the middle of a line goes on where it was', () => {
    const file = path.join(folder, 'state.jsonl')
    const lines: Line[] = [
      head,
      { line: 'begin', step: 'card.describe' },
      found('card.describe', { kind: 'card', name: 'A' }),
      ended('card.describe'),
      { line: 'begin', step: 'card.probe' },
      found('card.probe', { kind: 'ceiling', name: 'device copy', value: 1, unit: 'GB/s' }),
    ]
    for (const line of lines) appendLine(file, line)
    appendFileSync(file, '{"line":"found","step":"card.probe","fou')

    expect(readLines(file)).toEqual(lines)
    expect(completed(readLines(file))).toEqual(new Set(['card.describe']))
    expect(outcomes(readLines(file))).toEqual([
      expect.objectContaining({ step: 'card.describe', status: 'done' }),
      expect.objectContaining({ step: 'card.probe', status: 'killed', found: [expect.anything()] }),
    ])

    mendFile(file)
    appendLine(file, head)
    appendLine(file, { line: 'begin', step: 'card.probe' })
    appendLine(file, found('card.probe', { kind: 'ceiling', name: 'device copy', value: 2, unit: 'GB/s' }))
    appendLine(file, ended('card.probe'))
    // The second attempt stands for the step, and the first one's findings are gone.
    expect(outcomes(readLines(file)).flatMap((outcome) => outcome.found.map(({ value }) => value))).toEqual([
      undefined,
      2,
    ])
    expect(completed(readLines(file))).toEqual(new Set(['card.describe', 'card.probe']))
  })

  test('a file of something else is refused', () => {
    const file = path.join(folder, 'other.jsonl')
    writeFileSync(file, 'not JSON\n{}\n')
    expect(() => readLines(file)).toThrow(/line 1/)
    expect(readLines(path.join(folder, 'none.jsonl'))).toEqual([])
  })
})

describe('the roofline', () => {
  /** Rates measured on an H200: a copy by PyTorch, a bfloat16 product. */
  const rates = { copyBytesPerSecond: 4.3e12, flopPerSecond: 790e12 }
  const batch = 256

  // The figures of an independent count of the same network.
  test('of resnet50 in float16 at batch 256: 54.9 MB and 8.18 GFLOP an image', () => {
    const bounds = roofline(measuredPlan('resnet50', 'float16'), batch, rates)
    const inside = bounds.filter(({ kind }) => kind !== 'input' && kind !== 'output')
    const sum = (of: (row: (typeof bounds)[number]) => number) =>
      inside.reduce((total, row) => total + of(row), 0)
    expect(sum(({ bytes }) => bytes) / batch / 1e6).toBeCloseTo(54.9, 0)
    expect(sum(({ flop }) => flop) / batch / 1e9).toBeCloseTo(8.18, 1)
    expect(imagesPerSecond(bounds, batch) / 60_200).toBeCloseTo(1, 1)
  })

  test('a strided 1x1 reads what it uses; weights count once a batch', () => {
    const plan = measuredPlan('resnet50', 'float16')
    const of = (step: string, images: number) =>
      roofline(plan, images, rates).find((row) => row.step === step)
    const one = of('layer2.0.downsample.0', 1)
    expect(one?.bytes).toBe(2 * (28 * 28 * 256 + 28 * 28 * 512 + 256 * 512))
    expect((of('layer2.0.downsample.0', 3)?.bytes as number) - (one?.bytes as number)).toBe(
      2 * 2 * 28 * 28 * 768,
    )
    expect(one?.limit).toBe('memory')
    expect(of('layer3.1.conv2', 256)?.limit).toBe('compute')
  })

  test('twice the bytes in float32, and grouped convolutions multiply less', () => {
    const bytes = (dtype: string) =>
      roofline(measuredPlan('resnet18', dtype), 8, rates).find(({ step }) => step === 'layer1.0.conv1')
        ?.bytes as number
    expect(bytes('tf32') / bytes('float16')).toBe(2)
    const flop = (name: string) =>
      roofline(measuredPlan(name, 'float16'), 1, rates).find(({ step }) => step === 'layer1.0.conv2')
        ?.flop as number
    const { groups } = architectureNamed('resnext50_32x4d')
    expect(flop('resnext50_32x4d')).toBe((flop('resnet50') * 4) / groups)
  })

  test('a share is the least time over the time taken, and absent where either is not known', () => {
    const row = {
      step: 's',
      implementation: '',
      milliseconds: 2,
      bytes: 4e9,
      flop: 1e12,
      limit: 'compute' as const,
    }
    const ceilings: Ceiling[] = [
      { name: 'device copy', value: 4000, unit: 'GB/s' },
      { name: 'matrix float16', value: 500, unit: 'TFLOP/s' },
    ]
    expect(withShare(row, 'float16', ceilings)).toEqual({ ...row, limit: 'compute', share: 1 })
    expect(withShare({ ...row, bytes: 12e9 }, 'float16', ceilings)).toMatchObject({
      limit: 'memory',
      share: 1.5,
    })
    expect(withShare(row, 'bfloat16', ceilings)).toEqual(row)
    expect(withShare({ ...row, milliseconds: 0 }, 'float16', ceilings)).not.toHaveProperty('share')
  })
})

describe('results', () => {
  const speed = (driver: string, rounds: number[]) => {
    return {
      kind: 'speed',
      network: 'resnet50',
      dtype: 'float16',
      batch: 256,
      driver,
      memory: 'device',
      rounds,
    }
  }
  const lines: Line[] = [
    head,
    found('card.describe', { kind: 'card', name: 'NVIDIA Test 80GB' }),
    ended('card.describe'),
    found('card.probe', { kind: 'ceiling', name: 'device copy', value: 4300, unit: 'GB/s' }),
    found('card.probe', { kind: 'ceiling', name: 'matrix float16', value: 790, unit: 'TFLOP/s' }),
    ended('card.probe'),
    found('speed.resnet50-float16', speed('resnet', [30_000, 31_000, 29_000])),
    found('speed.resnet50-float16', speed('pytorch eager', [10_000, 10_000, 10_000])),
    ended('speed.resnet50-float16'),
    found('compile.resnet50-256', speed('resnet', [30_100])),
    ended('compile.resnet50-256'),
  ]

  test('one row a trial, shares of this card, ratios in the summary', () => {
    const results = assemble(lines)
    expect(results).toMatchObject({ format: 'resnet-gpu-check', version: 1, mode: 'full', dryRun: false })
    const ours = results.speed.find(({ driver }) => driver === 'resnet')
    expect(ours?.rounds).toEqual([30_000, 31_000, 29_000, 30_100])
    expect(ours?.share).toBeCloseTo(0.5, 1)
    expect(summaryOf(results).join('\n')).toMatch(/pytorch eager 10000 \(ours x 3.0/)
    expect(problemsOf(results)).toEqual([])
    expect(refusal(results)).toBeUndefined()
    expect(cardSlug('NVIDIA H100 80GB HBM3')).toBe('nvidia-h100-80gb-hbm3')
  })

  test('wrong answers, missed bounds, failed checks and steps are problems', () => {
    const bad = [
      found('accuracy.networks', {
        kind: 'accuracy',
        suite: 'networks',
        case: 'a',
        error: 1,
        bound: 0.1,
        good: false,
      }),
      found('accuracy.networks', { kind: 'figure', name: 'f', value: 7, unit: 'ms', most: 5 }),
      found('accuracy.networks', { kind: 'figure', name: 'g', value: Number.NaN, unit: 'ms', most: 5 }),
      found('accuracy.networks', { kind: 'check', name: 'c', good: false, detail: 'd' }),
      ended('accuracy.networks', 'failed'),
    ]
    expect(problemsOf(assemble([...lines, ...bad]))).toEqual([
      'networks, a: 1, at most 0.1',
      'f: 7 ms, at most 5',
      'g: NaN ms, at most 5',
      'c: d',
      'accuracy.networks: failed, why',
    ])
  })

  test('counts name what was not run, and how many wrong answers were refused', () => {
    const row = { kind: 'accuracy', suite: 'operations', case: 'a', error: 0, bound: 0.1, good: true }
    const rows = [row, { ...row, controlError: 2 }, { ...row, good: false, controlError: 0 }]
    const notRun: Line = {
      line: 'end',
      step: 'compile.resnet50-1',
      status: 'not run',
      seconds: 0,
      reason: 'budget: …',
    }
    const results = assemble([
      ...lines,
      ...rows.map((one) => found('accuracy.operations', one)),
      ended('accuracy.operations'),
      notRun,
    ])
    expect(countsOf(results)).toEqual([
      'answers, operations: 2 of 3 within their bounds; of 2 wrong ones 1 refused',
      'not run: budget: compile.resnet50-1 (--resume runs them)',
    ])
    expect(problemsOf(results)).toEqual(['operations, a: 0, at most 0.1'])
  })

  test('a rehearsal is never a result, nor is one step of it among real ones', () => {
    const rehearsal: Line = { ...head, mode: 'dry' } as Line
    expect(refusal(assemble([rehearsal, ...lines.slice(1)]))).toMatch(/rehearsal/)
    expect(refusal(assemble([rehearsal, ...lines]))).toMatch(/rehearsal/)
    expect(assemble([rehearsal, ...lines]).simulated).toMatch(/simulated CUDA device/)
    expect(assemble(lines)).not.toHaveProperty('simulated')
  })

  test('nor is what names no card, has another format, or is damaged', () => {
    const good = assemble(lines)
    const changed = (change: Partial<GpuResults>) => refusal({ ...good, ...change })
    expect(changed({ card: {} })).toMatch(/which card/)
    expect(changed({ version: 2 as 1 })).toMatch(/version 2/)
    expect(changed({ speed: [{ ...(good.speed[0] as GpuResults['speed'][0]), rounds: [] }] })).toMatch(
      /damaged/,
    )
    expect(changed({ ceilings: [{ name: 'x', value: Number.NaN, unit: '' }] })).toMatch(/damaged/)
    expect(refusal({})).toMatch(/format/)
    expect(() => assemble([])).toThrow(RangeError)
  })
})

describe('bench/gpu/run.mjs', () => {
  const run = path.join(root, 'bench', 'gpu', 'run.mjs')
  const built = existsSync(path.join(root, 'dist', 'bench', 'gpu', 'steps.js'))
  const call = (args: string[], env = {}) =>
    spawnSync(process.execPath, [run, ...args], {
      encoding: 'utf8',
      env: { ...process.env, OUT: '', ...env },
    })

  const withBuild = built ? test : test.skip
  withBuild('wrong arguments end with status 2 and what was expected', () => {
    expect(call(['--quick', '--dry-run'])).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/exclude/),
    })
    expect(call(['--budget', 'much'])).toMatchObject({ status: 2, stderr: expect.stringMatching(/--budget/) })
    expect(call(['--sped'])).toMatchObject({ status: 2, stderr: expect.stringMatching(/--sped/) })
    const out = path.join(folder, 'unknown')
    expect(call(['--dry-run', '--phase', 'sped', '--out', out])).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/among card, /),
    })
    expect(call(['--resume', path.join(folder, 'nothing.jsonl'), '--out', out])).toMatchObject({ status: 2 })
  })

  withBuild(
    'a step that hangs, and what it has started, ends with its share: the rest still runs, the whole stays in its budget',
    () => {
      // A Python that hangs for one program, with a child that no kill of its group reaches, and answers for all others.
      const python = path.join(folder, 'hanging-python')
      writeFileSync(
        python,
        `#!/bin/sh
case "$*" in
*card.py*) echo '{"kind":"note","text":"begun"}'; setsid sleep 15 & sleep 600 ;;
*) echo '{"kind":"note","text":"ran all the same"}' ;;
esac
`,
        { mode: 0o755 },
      )
      const out = path.join(folder, 'hung')
      const phase = 'card.describe,card.matrix,accuracy.reference,compile.resnet50-256'
      const budget = 14
      const begun = performance.now()
      const { status, stdout } = call(
        ['--dry-run', '--phase', phase, '--budget', String(budget), '--out', out],
        {
          RESNET_PYTHON: python,
          RESNET_CUDA_PLUGIN: '',
        },
      )
      expect((performance.now() - begun) / 1000).toBeLessThan(budget)
      expect(status).toBe(1)
      expect(stdout).toMatch(/not run: budget: accuracy.reference/)
      const results = JSON.parse(readFileSync(path.join(out, 'results.json'), 'utf8'))
      expect(
        results.steps.map(({ step, status, reason }: Record<string, string>) => [step, status, reason]),
      ).toEqual([
        ['card.describe', 'timeout', expect.stringMatching(/^stopped after \d s, and did not end/)],
        ['card.matrix', 'done', undefined],
        ['accuracy.reference', 'not run', expect.stringMatching(/^budget: \d s left of 14, it needs 20$/)],
        ['compile.resnet50-256', 'skipped', 'a rehearsal has no device'],
      ])
      expect(results.notes).toEqual(['begun', 'ran all the same'])
      expect(problemsOf(results)).toHaveLength(1)
      expect(readdirSync(out).sort()).toEqual(['log.txt', 'results.json', 'state.jsonl'])
    },
    60_000,
  )

  withBuild('--resume leaves out what an earlier run completed; a step that fails loses no other', () => {
    const out = path.join(folder, 'resumed')
    const state = path.join(folder, 'earlier.jsonl')
    for (const line of [{ ...head, mode: 'dry' } as Line, ended('card.describe')]) appendLine(state, line)
    // A Python that cannot start: both steps that need one would fail.
    const args = [
      '--dry-run',
      '--phase',
      'card.describe,card.matrix,compile.resnet50-256',
      '--resume',
      state,
      '--out',
      out,
    ]
    const { status, stdout } = call(args, {
      RESNET_PYTHON: path.join(folder, 'no-python'),
      RESNET_CUDA_PLUGIN: '',
    })
    expect(status).toBe(1)
    expect(stdout).toMatch(/failed +card.matrix/)
    expect(stdout).toMatch(/skipped +compile.resnet50-256/)
    expect(stdout).not.toMatch(/(done|failed) +card.describe/)
    const results = JSON.parse(readFileSync(path.join(out, 'results.json'), 'utf8'))
    expect(results.steps.map(({ step, status }: { step: string; status: string }) => [step, status])).toEqual(
      [
        ['card.describe', 'done'],
        ['card.matrix', 'failed'],
        ['compile.resnet50-256', 'skipped'],
      ],
    )
    expect(refusal(results)).toMatch(/rehearsal/)
  })
})

describe('the report', () => {
  test('draws what there is, and escapes what a step has said', () => {
    const lines: Line[] = [
      head,
      found('card.describe', { kind: 'card', name: 'NVIDIA Test' }),
      found('card.probe', { kind: 'ceiling', name: 'L2 read 8 MiB', value: 5000, unit: 'GB/s' }),
      found('card.probe', { kind: 'ceiling', name: 'L2 read 16 MiB', value: 4000, unit: 'GB/s' }),
      found('speed.x', {
        kind: 'speed',
        network: 'resnet18',
        dtype: 'float16',
        batch: 8,
        driver: 'resnet',
        memory: 'device',
        rounds: [3, 4, 5],
      }),
      found('speed.x', { kind: 'check', name: 'c', good: false, detail: '<b>bold</b>' }),
    ]
    const html = gpuReport(assemble(lines))
    expect(html.match(/<svg/g)).toHaveLength(4)
    expect(html).toContain('resnet18')
    expect(html).not.toContain('<b>bold')
    expect(html).toContain('killed')
  })
})

const simulated =
  process.env.RESNET_SIMULATED_PLUGIN ?? path.join(root, 'build', 'test', 'cuda', 'libresnet_cuda.so')
const withPlugin = existsSync(simulated) ? describe : describe.skip
withPlugin('steps that need no PyTorch, rehearsed on the simulated CUDA device', () => {
  test.each([
    ['layers'],
    ['operations', '--role', 'committed'],
    ['cycles'],
    ['out-of-memory'],
    ['start'],
    ['serving'],
    ['one-network'],
  ])(
    '%s',
    (step, ...args) => {
      const { status, stdout, stderr } = spawnSync(
        process.execPath,
        [path.join(root, 'bench', 'gpu', `${step}.mjs`), '--mode', 'dry', ...args],
        { encoding: 'utf8', env: { ...process.env, RESNET_CUDA_PLUGIN: simulated } },
      )
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
      const found: { kind: string; good?: boolean }[] = stdout
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line))
      expect(found.filter(({ good }) => good === false)).toEqual([])
      expect(found.length > 0).toBe(step !== 'one-network')
    },
    240_000,
  )
})

const peer = process.env.RESNET_BENCH_PYTHON
const withPeer = existsSync(simulated) && peer !== undefined ? describe : describe.skip
withPeer(
  'beside PyTorch (needs an installed peer, $RESNET_BENCH_PYTHON), on the simulated CUDA device',
  () => {
    test('operations and networks agree in every dtype, and wrong answers are refused', () => {
      const out = path.join(folder, 'beside')
      const { status } = spawnSync(
        path.join(root, 'scripts', 'gpu-check'),
        ['--dry-run', '--phase', 'accuracy.networks,accuracy.operations', '--out', out],
        { env: { ...process.env, OUT: '', RESNET_PYTHON: peer, RESNET_NODE: process.execPath } },
      )
      const results: GpuResults = JSON.parse(readFileSync(path.join(out, 'results.json'), 'utf8'))
      expect({ status, problems: problemsOf(results) }).toEqual({ status: 0, problems: [] })
      expect(results.steps.map(({ status }) => status)).toEqual(['done', 'done', 'done'])
      for (const suite of ['operations', 'networks']) {
        for (const dtype of ['float32', 'float16', 'bfloat16']) {
          const name = `${suite} beside PyTorch, ${dtype}`
          const names = [name, `${name}: control, answers with one value changed`]
          expect(results.checks.filter((check) => names.includes(check.name) && check.good)).toHaveLength(2)
        }
      }
      expect(
        results.accuracy.filter(({ controlError }) => controlError !== undefined).length,
      ).toBeGreaterThan(200)
    }, 600_000)
  },
)
