// Every architecture's plan, as lib/graph writes it, through the CUDA backend on the simulated device: the same numbers as the
// CPU backend. Needs the program that the native tests build; `npm test` builds it where the CUDA toolchain can be had.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { buildNetwork, inputName, logitsName } from '../lib/architecture/build.js'
import { architectureNamed, familyNames } from '../lib/architecture/families.js'
import { lower } from '../lib/graph/lower.js'

const runner =
  process.env.RESNET_PLAN_RUNNER ?? path.join(__dirname, '..', 'build', 'test', 'cuda', 'plan_runner')

// Full depth and every kind of layer, a quarter of the width: the convolutions run on the host.
function planOf(name: string): string {
  const { widths } = architectureNamed(name)
  const narrow = widths.map((width) => Math.max(16, width / 4))
  const spec = architectureNamed(name, { widths: narrow, numClasses: 10 })
  const size = spec.stem === 'cifar' ? 32 : 64
  const input = { name: inputName, shape: [size, size - 8, 3], dtype: 'float32', layout: 'nchw' } as const
  const { graph } = buildNetwork(spec)
  const { plan } = lower({ graph, inputs: [input], outputs: [{ name: logitsName, layout: 'nchw' }] })
  return JSON.stringify(plan)
}

const withRunner = existsSync(runner) ? describe : describe.skip
withRunner('plans on the simulated CUDA device', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'resnet-plans-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  test.each(familyNames)('%s in float16 equals the CPU', (name) => {
    const file = path.join(folder, `${name}.json`)
    writeFileSync(file, planOf(name))
    const { status, stdout, stderr } = spawnSync(runner, ['float16', file], { encoding: 'utf8' })
    expect({ status, output: status === 0 ? '' : stdout + stderr }).toEqual({ status: 0, output: '' })
  })
})
