// Ends, workers and memory, each in a child process: RESNET_LIFETIME_ROUNDS=200 for the long version.
import { spawn } from 'node:child_process'
import path from 'node:path'
import { packageRoot } from '../../lib/root.js'

const rounds = Number(process.env.RESNET_LIFETIME_ROUNDS ?? 20)
const addon = path.join(packageRoot, 'build', 'Release', 'resnet.node')
const nothing = {
  checkpoints: 0,
  weights: 0,
  programs: 0,
  lanes: 0,
  devices: 0,
  deviceMemories: 0,
  pictures: 0,
  runsInFlight: 0,
}
const plugin = path.join(packageRoot, 'build', 'test-plugins', 'libresnet_cpu_plugin.so')

interface Ending {
  code: number | null
  signal: string | null
  stderr: string
  /** What the child printed last, parsed; undefined when it ended without a word. */
  said?: Record<string, unknown>
}

function child(scenario: string, times: number, env: Record<string, string> = {}): Promise<Ending> {
  const script = path.join(__dirname, 'child.cjs')
  // A hang becomes SIGKILL, and so a failure.
  const options = {
    timeout: 20_000 + 2_000 * times,
    killSignal: 'SIGKILL',
    env: { ...process.env, ...env },
  } as const
  return new Promise((resolve, reject) => {
    const running = spawn(process.execPath, ['--expose-gc', script, addon, scenario, String(times)], options)
    let stdout = ''
    let stderr = ''
    running.stdout.on('data', (chunk) => { stdout += chunk }) // biome-ignore format: one line
    running.stderr.on('data', (chunk) => { stderr += chunk }) // biome-ignore format: one line
    running.on('error', reject)
    running.on('close', (code, signal) => {
      const line = stdout.trim().split('\n').at(-1)
      resolve({ code, signal, stderr, ...(line ? { said: JSON.parse(line) } : {}) })
    })
  })
}

async function said(scenario: string, times = rounds, env: Record<string, string> = {}) {
  const ending = await child(scenario, times, env)
  expect(ending).toMatchObject({ code: 0, signal: null, stderr: '' })
  expect(ending.said).toBeDefined()
  return ending.said as Record<string, unknown>
}

jest.setTimeout(60_000 + rounds * 3_000)

describe('worker.terminate() in the middle', () => {
  test('of runs', async () => {
    const { seen, left } = await said('terminate-run')
    // Otherwise this test would end workers that have nothing in flight.
    expect(seen).toBeGreaterThan(rounds * 0.8)
    expect(left).toEqual({ ...nothing, poolThreads: 0, poolUsers: 0 })
  })

  test('of compiling', async () => {
    expect((await said('terminate-compile')).left).toEqual({ ...nothing, poolThreads: 0, poolUsers: 0 })
  })

  // No other environment holds the library: the last one closes it, and no thread may still be inside.
  test.each(['terminate-run-alone', 'terminate-compile-alone', 'terminate-image-alone'])(
    '%s: in workers that alone hold the library',
    (name) => said(name),
  )

  test('process.exit() in a worker ends that worker alone', async () => {
    expect((await said('exit-of-worker')).left).toEqual({ ...nothing, poolThreads: 0, poolUsers: 0 })
  })
})

describe('process.exit() in the middle', () => {
  test.each(['exit-run', 'exit-compile', 'exit-image', 'exit-with-workers'])('%s', async (scenario) => {
    let inFlight = 0
    // Three workers take seconds to start on two busy cores.
    const times = scenario === 'exit-with-workers' ? Math.ceil(rounds / 5) : rounds
    for (let i = 0; i < times; i++) {
      const ending = await child(scenario, i)
      expect(ending).toMatchObject({ code: 0, signal: null, stderr: '' })
      if (ending.said?.inFlight) inFlight++
    }
    if (scenario === 'exit-run') expect(inFlight).toBeGreaterThan(rounds * 0.5)
  })

  test('an uncaught exception ends the process with its own code', async () => {
    const { code, signal, stderr } = await child('throw-run', 1)
    expect({ code, signal }).toEqual({ code: 1, signal: null })
    expect(stderr).toContain('on purpose')
  })
})

describe('on a device of a plugin', () => {
  const env = { RESNET_CUDA_PLUGIN: plugin }
  const few = Math.ceil(rounds / 3)

  test('worker.terminate() in the middle of runs', async () => {
    const { seen, left } = await said('terminate-run', few, env)
    expect(seen).toBeGreaterThan(few * 0.8)
    expect(left).toMatchObject(nothing)
  })
  test.each(['terminate-compile', 'terminate-run-alone'])('%s', (name) => said(name, few, env))

  test.each(['exit-run', 'exit-compile'])('%s', async (scenario) => {
    for (let i = 0; i < few; i++) {
      expect(await child(scenario, i, env)).toMatchObject({ code: 0, signal: null, stderr: '' })
    }
  })

  test('what was dropped undisposed is collected', async () => {
    expect((await said('collect', 1, env)).left).toMatchObject({ weights: 0, programs: 0, lanes: 0 })
  })
})

describe('the event loop', () => {
  test('lives as long as something is awaited', () => said('await'))
  test('ends although handles are open', () => said('leave-open'))
})

test('two models in each of four workers give the same numbers and share one pool', async () => {
  const { expected, results, poolThreads, poolUsers } = await said('four-workers')
  expect(new Set(expected as number[]).size).toBe(2)
  expect(results).toEqual([expected, expected, expected, expected])
  expect({ poolThreads, poolUsers }).toEqual({ poolThreads: 2, poolUsers: 5 })
})

describe('memory', () => {
  const threshold = 20 // MB over 150 cycles of a model of about 1 MB

  test('what was dropped undisposed is collected', async () => {
    expect((await said('collect')).left).toMatchObject(nothing)
  })
  test('a run outlives its handles and views', async () => {
    const { same, left } = await said('collect-in-flight')
    expect(same).toBe(true)
    expect(left).toMatchObject({ ...nothing, checkpoints: expect.any(Number), weights: expect.any(Number) })
  })
  test('is flat over 200 cycles of load, run and dispose', async () => {
    expect((await said('memory-flat', 200)).growthMb).toBeLessThan(threshold)
  })
  test('the same cycles without dispose are caught by that threshold', async () => {
    expect((await said('memory-leaking', 200)).growthMb).toBeGreaterThan(2 * threshold)
  })
})
