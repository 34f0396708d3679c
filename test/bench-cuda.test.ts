// `resnet bench --device cuda` on the simulated device: the form of what it tells, no speeds. Needs the library that the native
// tests build, as cuda-facade.test.ts.
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import type { Results } from '../lib/bench/types.js'
import { packageRoot } from '../lib/root.js'

const plugin =
  process.env.RESNET_SIMULATED_PLUGIN ??
  path.join(__dirname, '..', 'build', 'test', 'cuda', 'libresnet_cuda.so')
const folder = mkdtempSync(path.join(tmpdir(), 'resnet-bench-'))
afterAll(() => rmSync(folder, { recursive: true }))

const withPlugin = existsSync(plugin) ? describe : describe.skip
withPlugin('the benchmark on the simulated CUDA device', () => {
  test('tells the ceilings of the device, every share of them, and its memory', async () => {
    const output = path.join(folder, 'out.json')
    const html = path.join(folder, 'out.html')
    const words =
      'bench --network resnet20 --size 8 --batch 2 --device cuda --rounds 1 --seconds 0.2 --limits --layers'
    const cli = path.join(packageRoot, 'dist', 'cli', 'main.js')
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [cli, ...words.split(' '), '--output', output, '--report', html],
      // No kept engines: a race is what gives times.
      { env: { ...process.env, RESNET_CUDA_PLUGIN: plugin, XDG_CACHE_HOME: folder } },
    )
    expect(stdout).toMatch(
      /^Limits of cuda:0, Simulated device 0; theoretical: .*\n {2}device copy +3352\.3 GB\/s\n/,
    )
    // No limits of the processor among them.
    expect(stdout).not.toMatch(/Limits of this machine|threads\n {2}/)
    expect(stdout).toMatch(/device MB +by driver MB +of the bound\n/)
    expect(stdout).toMatch(
      /\nSteps of resnet20 8x8 float16 cuda batch 2 [\s\S]* ms .* GFLOP\/s {2}\d+ % of the bound\n/,
    )

    const { limits = [], trials, layers }: Results = JSON.parse(readFileSync(output, 'utf8'))
    for (const { gpu, threads } of limits) {
      expect({ gpu, threads }).toMatchObject({
        threads: 0,
        gpu: { device: 'cuda:0', name: 'Simulated device 0' },
      })
    }
    expect(limits.map(({ name, unit }) => `${name} ${unit}`)).toEqual([
      'device copy GB/s',
      ...['float16', 'bfloat16', 'tf32', 'float32'].map((dtype) => `matrix ${dtype} TFLOP/s ${dtype}`),
    ])
    const [trial] = trials
    expect(trial?.drivers[0]?.error).toBeUndefined()
    expect(trial?.drivers[0]?.settings.name).toBe('Simulated device 0')
    expect(trial?.boundPerSecond).toBeGreaterThan(1000)
    expect(trial?.drivers[0]?.rounds[0]?.deviceMb).toBeGreaterThan(0.1)
    const rows = layers?.[0]?.rows ?? []
    expect(rows.length).toBeGreaterThan(20)
    const bounded = rows.filter(({ bound }) => bound !== undefined)
    expect(bounded.length).toBeGreaterThan(10)
    for (const { bound, milliseconds } of bounded) {
      expect(bound).toBeGreaterThan(0)
      expect(milliseconds).toBeGreaterThan(0)
    }
    // Shares and bound are of the same least times; one batch in one track.
    const convs = rows.filter(({ step }) => /conv|fc/.test(step))
    const least = convs.reduce((sum, { bound = 0, milliseconds }) => sum + bound * milliseconds, 0)
    expect(2000 / least).toBeGreaterThan(trial?.boundPerSecond as number)
    expect(readFileSync(html, 'utf8')).toContain('Simulated device 0: theoretical')
  }, 300_000)
})
