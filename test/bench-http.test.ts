import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { httpRound } from '../lib/bench/http.js'
import type { Measured, Results, Trial } from '../lib/bench/types.js'
import type { BenchOptions } from '../lib/cli/bench.js'
import { trialsOf } from '../lib/cli/bench-trials.js'
import { packageRoot } from '../lib/root.js'
import { refusal } from './support/refusal.js'

const folder = mkdtempSync(path.join(tmpdir(), 'resnet-bench-http-'))
afterAll(() => rmSync(folder, { recursive: true }))

const cli = path.join(packageRoot, 'dist', 'cli', 'main.js')
const server = path.join(packageRoot, 'examples', 'server', 'main.mjs')

interface Ended {
  results: Results
  stdout: string
  code: number
}

async function bench(...words: string[]): Promise<Ended> {
  const output = path.join(folder, 'out.json')
  const args = [cli, 'bench', '--rounds', '1', '--seconds', '1', '--output', output, ...words]
  const ended = await promisify(execFile)(process.execPath, args).then(
    ({ stdout }) => ({ stdout, code: 0 }),
    ({ stdout, code }) => ({ stdout, code }),
  )
  return { ...ended, results: JSON.parse(readFileSync(output, 'utf8')) }
}

function rounds({ trials }: Results): Measured[] {
  return trials.map(({ drivers }) => {
    expect(drivers.map(({ driver, error }) => ({ driver, error }))).toEqual([{ driver: 'http' }])
    return drivers[0]?.rounds[0] as Measured
  })
}

/** A server of the test's own: it answers every request by `answer`, an expression over `count`. */
function serverThat(answer: string, ending = 'process.exit(0)'): string {
  const file = path.join(folder, `server-${Math.random().toString(36).slice(2)}.cjs`)
  writeFileSync(
    file,
    `let count = 0
    const server = require('node:http').createServer((request, response) => {
      request.resume().on('end', () => {
        count += request.method === 'POST'
        response.statusCode = request.method === 'POST' ? ${answer} : 404
        response.end('an answer')
      })
    })
    server.listen(Number(process.env.PORT), '127.0.0.1', () => console.log('http://127.0.0.1:' + server.address().port))
    process.on('SIGTERM', () => ${ending})`,
  )
  return file
}

test('the example server, started by the harness: the same columns, of the server itself', async () => {
  const { results, stdout, code } = await bench(
    ...['--server', server, '--connections', '4', '--load', '0.5', '--rate', '20'],
  )
  expect(code).toBe(0)
  expect(results.trials.map(({ name }) => name)).toEqual([
    'POST /classify connections 4',
    'POST /classify connections 4 open 0.5',
    'POST /classify connections 4 at 20/s',
  ])
  const [closed, open, rate] = rounds(results) as [Measured, Measured, Measured]
  for (const round of [closed, open, rate]) {
    expect(round.imagesPerSecond).toBeGreaterThan(1)
    expect(round.latencyMs.p999).toBeGreaterThanOrEqual(round.latencyMs.p50)
    expect(round.cpuMsPerImage).toBeGreaterThan(0.1)
    expect(round.peakMb).toBeGreaterThan(40)
    expect(round.loadMs).toBeGreaterThan(50)
    expect(round.eventLoopP99Ms).toBeGreaterThanOrEqual(0)
    // Decoding is the server's, and so is the network.
    expect(round.stages?.decodeMs).toBeGreaterThan(0)
    expect(round.stages?.computeMs).toBeGreaterThan(0)
  }
  expect(open.offeredPerSecond).toBeCloseTo(closed.imagesPerSecond / 2)
  expect(rate.offeredPerSecond).toBe(20)
  expect(rate.calls).toBeGreaterThan(8)
  expect(rate.calls).toBeLessThan(40)
  expect(stdout).toMatch(/p50\s+p90\s+p99\s+p99\.9 ms/)
  expect(results.trials[0]?.http?.server).toBe('main.mjs')
}, 120_000)

test("somebody else's server by its address: what is not known is left open", async () => {
  const child = spawn(process.execPath, [server], { env: { ...process.env, PORT: '0' } })
  try {
    const [line] = await once(child.stdout, 'data')
    const address = /http:\S+/.exec(String(line))?.[0]
    const { results, code } = await bench('--url', `${address}/classify`, '--connections', '2')
    expect(code).toBe(0)
    const [round] = rounds(results) as [Measured]
    expect(round.imagesPerSecond).toBeGreaterThan(1)
    expect(round).toMatchObject({ cpuMsPerImage: null, peakMb: null, eventLoopP99Ms: null })
  } finally {
    child.kill('SIGTERM')
    await once(child, 'exit')
  }
}, 60_000)

test('refusals are counted, and are no answers', async () => {
  const { results, code } = await bench('--server', serverThat('count % 2 ? 200 : 503'), '--rate', '50')
  expect(code).toBe(0)
  const rate = rounds(results).at(-1) as Measured
  expect(rate.refused).toBeGreaterThan(8)
  expect(Math.abs((rate.refused as number) - rate.calls)).toBeLessThan(3)
}, 60_000)

test.each([
  ['answers 500', serverThat('count > 5 ? 500 : 200'), /expected status 200, received 500: an answer/],
  [
    'ends by itself',
    serverThat('(count > 5 && process.exit(3), 200)'),
    /ended by code 3|socket hang up|ECONN/,
  ],
  [
    'does not end gracefully',
    serverThat('200', 'process.exit(4)'),
    /did not end gracefully after SIGTERM: ended by code 4/,
  ],
])(
  'a server that %s is reported as such',
  async (_, program, why) => {
    const { results, code } = await bench('--server', program)
    expect(code).toBe(1)
    expect(results.trials[0]?.drivers[0]?.error).toMatch(why)
  },
  60_000,
)

test('one that never listens', async () => {
  const program = path.join(folder, 'silent.cjs')
  writeFileSync(program, 'console.error("no port")')
  const { results } = await bench('--server', program)
  expect(results.trials[0]?.drivers[0]?.error).toMatch(/before it printed its address, it ended$/)
}, 60_000)

const trial: Trial = {
  network: { name: 'server', channels: 3, height: 0, width: 0 },
  device: 'http',
  dtype: '',
  batch: 1,
  threads: 0,
  load: { kind: 'closed' },
  images: [path.join(packageRoot, 'models', 'samples', '1.png')],
}

test('one that says something else than its address, in one line', async () => {
  const server = path.join(folder, 'other.cjs')
  writeFileSync(server, 'console.log("hello\\nready"); setInterval(() => {}, 1000)')
  const target = { server, url: '/classify', connections: 1 }
  // What is loaded into the server is there compiled only.
  const compiled: typeof import('../lib/bench/http.js') = require('../dist/bench/http.js')
  await expect(compiled.httpRound({ trial, seconds: 1 }, target, 1000)).rejects.toThrow(
    `${server}: expected its http:// address on stdout within 1 s, received "hello\\nready\\n"`,
  )
})

test.each([
  ['takes requests and never answers', 0],
  ['no longer answers in the middle', 40],
])('one that %s', async (_, answers) => {
  let count = 0
  const silent = createServer((request, response) => {
    request.resume()
    if (++count <= answers) response.end()
  }).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const { port } = silent.address() as AddressInfo
  const target = { url: `http://127.0.0.1:${port}/classify`, connections: 2 }
  await expect(httpRound({ trial, seconds: 1 }, target, 200)).rejects.toThrow(
    'POST /classify: expected an answer within 0.2 s, received none',
  )
  silent.close()
})

test('one that cannot start says why, in one line', async () => {
  const program = path.join(folder, 'broken.cjs')
  writeFileSync(program, 'require("fastifi")')
  const { results, stdout } = await bench('--server', program)
  const why = `${program}: before it printed its address, it ended by code 1: Error: Cannot find module 'fastifi'`
  expect(results.trials[0]?.drivers[0]?.error).toBe(why)
  expect(stdout).toContain(`did not run: ${why}\n`)
}, 60_000)

test('interrupted, it ends the server and leaves nothing behind', async () => {
  const own = mkdtempSync(path.join(folder, 'tmp-'))
  const log = path.join(folder, 'interrupted.log')
  const program = path.join(folder, 'logging.cjs')
  writeFileSync(
    program,
    `globalThis.log = (text) => require('node:fs').appendFileSync(${JSON.stringify(log)}, text)
    require(${JSON.stringify(serverThat("(count === 3 && log('busy'), 200)", "(log(' ended'), process.exit(0))"))})`,
  )
  const args = [cli, 'bench', '--rounds', '1', '--seconds', '60', '--server', program]
  const child = spawn(process.execPath, args, { env: { ...process.env, TMPDIR: own } })
  const over = once(child, 'exit')
  const logged = () => (existsSync(log) ? readFileSync(log, 'utf8') : '')
  while (logged() === '' && child.exitCode === null) await pause(10)
  child.kill('SIGINT')
  expect(await over).toEqual([130, null])
  expect(readdirSync(own)).toEqual([])
  while (!logged().includes('ended')) await pause(10)
}, 60_000)

test.each<[Partial<BenchOptions>, RegExp]>([
  [
    { server: 'server.mjs', layers: true },
    /received --layers with a server, 'server\.mjs'.*without --server/,
  ],
  [{ url: 'http://127.0.0.1:9/x', peer: ['torch'] }, /received --peer .* without --url/],
  [{ url: 'http://127.0.0.1:9/x', model: 'a.safetensors' }, /received --model/],
  [{ onnx: 'a.onnx' }, /expected --model with --onnx 'a\.onnx'/],
])('what would change nothing is refused: %j', async (given, message) => {
  const { code, message: told } = await refusal(() =>
    trialsOf({ peer: [], ...given } as unknown as BenchOptions),
  )
  expect(code).toBe('ERR_RESNET_INVALID_ARGUMENT')
  expect(told).toMatch(message)
})
