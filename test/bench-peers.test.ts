import { execFile, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { logitsError } from '../lib/bench/check.js'
import { findPeers, type PeerName, peerNames, peerTable, requirePeers } from '../lib/bench/peers.js'
import { PythonPeer } from '../lib/bench/python.js'
import { seedNetwork } from '../lib/bench/seeded.js'
import type { Network, Results, Trial } from '../lib/bench/types.js'
import { ResNet } from '../lib/resnet.js'
import { packageRoot } from '../lib/root.js'
import { Tensor } from '../lib/tensor.js'
import { refusal } from './support/refusal.js'
import { safetensors } from './support/safetensors.js'
import { parameters, small } from './support/small-network.js'

const folder = mkdtempSync(path.join(tmpdir(), 'resnet-bench-peers-'))
afterAll(() => rmSync(folder, { recursive: true }))

const cli = path.join(packageRoot, 'dist', 'cli', 'main.js')
const fakePeer = path.join(__dirname, 'support', 'fake-peer.py')
/** An interpreter that has fakes under the names of peers. */
const fakePython = path.join(__dirname, 'support', 'fake-python')

const trial: Trial = {
  network: { name: 'resnet20', channels: 3, height: 8, width: 8 },
  device: 'cpu',
  dtype: 'float32',
  batch: 2,
  threads: 1,
  load: { kind: 'closed' },
}

/** A checkpoint whose logits are [1, 2, 3] for whatever image. */
function constantNetwork(): Network {
  const checkpoint = path.join(folder, 'constant.safetensors')
  const written = parameters(small).map((row) => {
    if (row.name === 'fc.weight') return { ...row, data: new Float32Array(row.data.length) }
    return row.name === 'fc.bias' ? { ...row, data: Float32Array.of(1, 2, 3) } : row
  })
  writeFileSync(checkpoint, safetensors(written))
  return { name: 'small', channels: 3, height: 8, width: 8, checkpoint }
}

test('the distance of logits', () => {
  const ours = Float32Array.of(1, -4, 2)
  expect(logitsError(ours, Float32Array.of(1, -3, 2))).toBe(0.25)
  expect(logitsError(ours, Float32Array.of(1, -4))).toBe(Number.POSITIVE_INFINITY)
  expect(logitsError(ours, Float32Array.of(1, Number.NaN, 2))).toBeNaN()
})

test('random weights in files: the same every time, of a network that answers', async () => {
  const network = { name: 'resnet20', channels: 3, height: 32, width: 32 }
  const { checkpoint, onnx } = seedNetwork(folder, network)
  const model = await ResNet.load(checkpoint as string, { device: 'cpu' })
  const x = Tensor.from(new Float32Array(3 * 32 * 32).fill(0.5), [1, 3, 32, 32])
  const logits = (await model.forward(x)).data as Float32Array
  await model.dispose()
  const largest = Math.max(...logits.map(Math.abs))
  expect(largest).toBeGreaterThan(0.05)
  expect(largest).toBeLessThan(100)
  const file = readFileSync(onnx as string)
  for (const operator of ['Conv', 'BatchNormalization', 'Add', 'Relu', 'GlobalAveragePool', 'Gemm']) {
    expect(file.includes(operator)).toBe(true)
  }
  seedNetwork(folder, network)
  expect(readFileSync(onnx as string).equals(file)).toBe(true)
})

const hasPython = spawnSync('python3', ['--version']).status === 0
const withPython = hasPython ? describe : describe.skip

withPython('the protocol of peers in Python (needs Python 3)', () => {
  const peers: PythonPeer[] = []
  const start = (program = fakePeer) => {
    const peer = PythonPeer.start('python3', program)
    peers.push(peer)
    return peer
  }
  afterAll(() => Promise.all(peers.map((peer) => peer.close())))

  async function opened(lanes = 1): Promise<PythonPeer> {
    const peer = start()
    await peer.open('torch', { ...trial, lanes }, 2)
    await peer.input(new Float32Array(2 * 3 * 8 * 8), [2, 3, 8, 8])
    return peer
  }

  test('opens, answers with logits, and calls for as long as it is asked to', async () => {
    const peer = start()
    expect(await peer.open('torch', trial, 2)).toMatchObject({ version: '1.0', settings: { images: 2 } })
    await peer.input(new Float32Array(2 * 3 * 8 * 8), [2, 3, 8, 8])
    expect([...(await peer.logits())]).toEqual([1, 1])
    const run = await peer.run({ kind: 'closed', milliseconds: 100, fewest: 1 })
    expect(run.latencies.length).toBeGreaterThan(3)
    expect(run.latencies.length).toBeLessThanOrEqual(21)
    expect(Math.min(...run.latencies)).toBeGreaterThanOrEqual(5)
    expect(run.elapsedMs).toBeGreaterThanOrEqual(100)
    expect(run.cpuMs).toBeLessThan(run.elapsedMs)
    expect(run.peakMb).toBeGreaterThan(3)
    expect(run.eventLoopP99Ms).toBeNaN()
    expect((await peer.run({ kind: 'closed', milliseconds: 0, fewest: 7 })).latencies).toHaveLength(7)
  })

  test('arrivals that come faster than they are done wait for each other', async () => {
    const peer = await opened()
    const { latencies } = await peer.run({ kind: 'open', arrivals: Array.from({ length: 10 }, () => 20) })
    expect(latencies).toHaveLength(10)
    for (const [i, latency] of latencies.entries()) expect(latency).toBeGreaterThanOrEqual(5 * (i + 1))
  })

  test('lanes are callers of their own', async () => {
    const peer = await opened(4)
    const { latencies, elapsedMs } = await peer.run({ kind: 'closed', milliseconds: 0, fewest: 40 })
    expect(latencies).toHaveLength(40)
    expect(elapsedMs).toBeLessThan(40 * 5 * 0.75)
  })

  test('what fails over there fails here, and the next question is answered', async () => {
    const peer = start()
    await expect(peer.open('fails', trial, 1)).rejects.toThrow('ValueError: cannot be had')
    expect((await peer.versions(['torch', 'openvino'])).versions).toEqual({ torch: '1.0', openvino: null })
  })

  test('a process that dies tells its last words', async () => {
    const peer = start()
    const error = await refusal(() => peer.open('dies', trial, 1))
    expect(error.message).toMatch(/code 7: the peer's last words/)
    await expect(peer.logits()).rejects.toBe(error)
  })

  test('a program that speaks something else', async () => {
    const other = path.join(folder, 'other.py')
    writeFileSync(other, 'input()\nprint("Hello")\ninput()\n')
    await expect(start(other).versions([])).rejects.toThrow(
      "expected a line of JSON from 'python3', received 'Hello'",
    )
  })

  test('a whole run: compared first, then timed beside ours; one that answers wrongly is not timed', async () => {
    const output = path.join(folder, 'fake.json')
    const words =
      'bench --size 8 --batch 2 --threads 1 --load 0.5 --rounds 2 --seconds 0.2 --peer torch,torch-compile'
    const files = [
      '--model',
      constantNetwork().checkpoint as string,
      '--python',
      fakePython,
      '--output',
      output,
    ]
    const ended = promisify(execFile)(process.execPath, [cli, ...words.split(' '), ...files])
    // One of them fails.
    await expect(ended).rejects.toMatchObject({ code: 1 })
    const results: Results = JSON.parse(readFileSync(output, 'utf8'))
    expect(results.trials.map(({ load }) => load.kind)).toEqual(['closed', 'open'])
    for (const { drivers } of results.trials) {
      const [ours, right] = drivers
      expect(ours?.error).toBeUndefined()
      expect(right).toMatchObject({ version: '1.0', logitsError: 0 })
      expect(right?.rounds).toHaveLength(2)
      // 5 ms a call.
      expect(right?.rounds[0]?.latencyMs.p50).toBeGreaterThanOrEqual(5)
    }
    const [closed, open] = results.trials
    expect(closed?.drivers[2]?.error).toMatch(/its logits are 6\.7e-1 from this package's.* not timed/)
    expect(closed?.drivers[2]?.rounds).toEqual([])
    expect(open?.drivers[1]?.rounds[0]?.offeredPerSecond).toBeGreaterThan(20)
    expect(results.otherPeers).toHaveProperty('openvino', 'not installed')
  }, 120_000)

  test('one that is asked for and missing is an error that says what to install', async () => {
    const places = { folder, python: fakePython }
    expect(await findPeers(places)).toMatchObject({
      torch: { version: '1.0' },
      openvino: { missing: `${fakePython} -m pip install openvino numpy` },
      'transformers.js': { missing: 'npm install @huggingface/transformers' },
    })
    const network = constantNetwork()
    const missing = await refusal(() => requirePeers(['openvino'], [network], places))
    expect(missing.code).toBe('ERR_RESNET_UNAVAILABLE')
    expect(missing.message).toMatch(/peer 'openvino' is not installed; .*pip install openvino numpy/)
    const { checkpoint: _, ...bare } = network
    const without = await refusal(() => requirePeers(['torch'], [bare], places))
    expect(without.code).toBe('ERR_RESNET_INVALID_ARGUMENT')
    expect(without.message).toMatch(
      /expected --model of 'small', which the peer 'torch' reads, received none/,
    )
    expect(await requirePeers(['torch'], [network], places)).toEqual({
      'onnxruntime-node': 'not installed',
      'transformers.js': 'not installed',
      'torch-compile': '1.0',
      openvino: 'not installed',
    })
  })
})

test('an interpreter that is not there', async () => {
  const error = await refusal(() => findPeers({ folder, python: path.join(folder, 'python') }))
  expect(error.code).toBe('ERR_RESNET_UNAVAILABLE')
  expect(error.message).toMatch(/cannot start '.*python': .*--python names the interpreter/)
})

/** Peers of this machine: what `npm run bench` installs, and an interpreter by $RESNET_BENCH_PYTHON. */
const places = {
  folder: path.join(packageRoot, '.cache', 'bench', 'peers'),
  python: process.env.RESNET_BENCH_PYTHON,
}

function isInstalled(name: PeerName): boolean {
  const { language, packages } = peerTable[name]
  if (language === 'node') return existsSync(path.join(places.folder, 'node_modules', packages[0]))
  if (places.python === undefined) return false
  return spawnSync(places.python, ['-c', `import ${packages.join(', ')}`]).status === 0
}

describe.each(peerNames)('%s', (name) => {
  const run = isInstalled(name) ? test : test.skip
  run(
    'answers as this package does, beside it (needs an installed peer)',
    async () => {
      const output = path.join(folder, `${name}.json`)
      const words = `bench --network resnet18 --size 32 --batch 2 --threads 1 --load 0.5 --rounds 1 --seconds 0.2`
      const python = places.python === undefined ? [] : ['--python', places.python]
      await promisify(execFile)(
        process.execPath,
        [cli, ...words.split(' '), '--peer', name, '--output', output, ...python],
        { cwd: places.folder },
      )
      const written: Results = JSON.parse(readFileSync(output, 'utf8'))
      for (const { drivers } of written.trials) {
        const peer = drivers[1]
        expect(peer?.error).toBeUndefined()
        expect(peer?.logitsError).toBeLessThan(1e-5)
        expect(peer?.rounds[0]?.imagesPerSecond).toBeGreaterThan(0)
        expect(peer?.version).toMatch(/^\d+\.\d+/)
      }
      expect(Object.keys(written.otherPeers ?? {})).toEqual(peerNames.filter((other) => other !== name))
      expect(written.trials[0]?.network).toMatchObject({
        checkpoint: 'resnet18-32x32.safetensors',
        onnx: 'resnet18-32x32.onnx',
      })
    },
    300_000,
  )
})
