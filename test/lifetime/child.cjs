// One process whose end, workers or memory are looked at: node child.cjs <addon> <scenario> <times>. Prints one line of
// JSON when the scenario reached its end by itself; one that exits in the middle prints nothing more.
const path = require('node:path')
const { Worker, isMainThread, parentPort, workerData } = require('node:worker_threads')
const { compile, convPlan, formulaWeights, heavy, heavyElements, safetensors } = require('../glue/plans.cjs')

const [addon, scenario, times] = isMainThread ? process.argv.slice(2) : workerData

/** Not at the top: where only workers load the addon, the library is closed with the last of them. */
const load = () => require(path.resolve(addon))
const report = (value) => console.log(JSON.stringify(value))
const view = () => new Float32Array(heavyElements)
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
/** Spread over a run's duration, the same every time. */
const delay = (i) => (i * 7) % 40

/** Where programs are compiled: the CPU, or the first device of RESNET_CUDA_PLUGIN. */
async function place(binding) {
  const path = process.env.RESNET_CUDA_PLUGIN
  if (path === undefined) return {}
  const plugin = await binding.openPlugin({ path })
  return { device: await plugin.openDevice({ index: 0, memoryLimit: 0 }) }
}

async function makeLane(seed = 1, plan = heavy) {
  const binding = load()
  const where = await place(binding)
  const program = await compile(binding, plan, formulaWeights(binding, plan, seed), where)
  return program.createLane()
}
function run(lane, input = view(), output = view()) {
  return lane.run({ batch: 1, inputs: [[input]], outputs: [[output]] }).then(() => output)
}

/** An image of 3,000 x 2,000 pixels, some tens of milliseconds of work. */
function prepareImage(binding) {
  const [width, height, side] = [3000, 2000, 224]
  const window = { from: 0, length: side, to: 0 }
  return binding.preparePixels({
    width,
    height,
    pixels: new Uint8Array(width * height * 3),
    channels: 3,
    resizedWidth: 300,
    resizedHeight: 240,
    interpolation: 'bicubic',
    x: window,
    y: window,
    output: new Float32Array(3 * side * side),
    outputWidth: side,
    outputHeight: side,
    mean: [0, 0, 0],
    std: [1, 1, 1],
  })
}

/** What a worker does until it is ended: three runs in flight, compiling, or images, for ever. */
async function workFor(kind, started = () => parentPort.postMessage('working')) {
  const binding = load()
  if (kind === 'compile') {
    const where = await place(binding)
    const compiling = () => compile(binding, heavy, formulaWeights(binding, heavy), where)
    started()
    for (;;) await Promise.all([compiling(), compiling(), compiling()])
  }
  if (kind === 'image') {
    started()
    for (;;) await Promise.all([1, 2, 3].map(() => prepareImage(binding)))
  }
  const lane = await makeLane()
  for (let first = true; ; first = false) {
    const runs = [run(lane), run(lane), run(lane)]
    if (first) started()
    await Promise.all(runs)
  }
}

async function startWorker(name) {
  const worker = new Worker(__filename, { workerData: [addon, name, 1] })
  worker.on('error', (error) => {
    throw error
  })
  worker.exited = new Promise((resolve) => worker.once('exit', resolve))
  worker.firstMessage = await new Promise((resolve) => worker.once('message', resolve))
  return worker
}

async function terminateMany(kind) {
  for (let i = 0; i < times; i++) {
    const worker = await startWorker(`work-${kind}`)
    await pause(delay(i))
    await worker.terminate()
  }
}

/** The runs of a worker are seen from here, since the counters are the process's. */
async function terminateRunsSeen() {
  const binding = load()
  let seen = 0
  for (let i = 0; i < times; i++) {
    const worker = await startWorker('work-run')
    await pause(delay(i))
    seen += binding.counters().runsInFlight > 0
    await worker.terminate()
  }
  report({ seen, left: binding.counters() })
}

/** Sums of both models' results for the same input, in a fixed order. */
async function twoModels() {
  const input = view().map((_, i) => ((i * 2654435761) % 1000) / 1000)
  const plan = convPlan({ size: 64, channels: 64, depth: 6 })
  const lanes = [await makeLane(1, plan), await makeLane(2, plan)]
  const outputs = []
  for (let round = 0; round < 3; round++)
    outputs.push(...(await Promise.all(lanes.map((lane) => run(lane, input)))))
  return outputs.map((output) => output.reduce((sum, x) => sum + x, 0))
}

async function cycle(binding, bytes, plan, kept) {
  const { checkpoint } = await binding.openCheckpoint({ bytes })
  const names = Object.fromEntries(plan.parameters.map(({ name }) => [name, name]))
  const weights = binding.weightsFromCheckpoint({ checkpoint, names })
  const program = await compile(binding, plan, weights)
  const lane = await program.createLane()
  const elements = plan.values[0].shape.reduce((product, size) => product * size, 1)
  const images = [new Float32Array(elements), new Float32Array(elements)]
  await lane.run({ batch: 1, inputs: [[images[0]]], outputs: [[images[1]]] })
  if (kept) {
    kept.push(program, lane)
    return
  }
  await lane.dispose()
  program.dispose()
  weights.dispose()
  checkpoint.dispose()
}

/** Megabytes of resident memory gained after the first quarter of the cycles. */
async function growth(kept) {
  const binding = load()
  const plan = convPlan({ size: 32, channels: 64, depth: 4 })
  const bytes = safetensors(
    plan.parameters.map(({ name, shape }) => ({
      name,
      shape,
      data: new Float32Array(64 * 64 * 9).fill(0.01),
    })),
  )
  let early = 0
  for (let i = 0; i < times; i++) {
    await cycle(binding, bytes, plan, kept)
    if (i % 10 === 0) global.gc()
    if (i === Math.floor(times / 4)) early = process.memoryUsage.rss()
  }
  global.gc()
  report({ growthMb: (process.memoryUsage.rss() - early) / 2 ** 20, left: binding.counters() })
}

/** Waits until the collector's finalizers have run and the threads that free have freed. */
async function collected(binding, names) {
  for (let i = 0; i < 100; i++) {
    global.gc()
    await pause(10)
    if (names.every((name) => binding.counters()[name] === 0)) break
  }
  return binding.counters()
}

const scenarios = {
  'work-run': () => workFor('run'),
  'work-compile': () => workFor('compile'),
  'work-image': () => workFor('image'),
  async 'work-two-models'() {
    parentPort.postMessage(await twoModels())
    parentPort.on('message', () => {}) // stays until it is terminated, so that all are there at once
  },
  // In a worker process.exit() ends the worker alone.
  'work-exit': () =>
    workFor('run', () => {
      parentPort.postMessage('working')
      setTimeout(() => process.exit(0), 10)
    }),

  'terminate-run': terminateRunsSeen,
  async 'terminate-run-alone'() {
    await terminateMany('run')
    report({})
  },
  async 'terminate-compile'() {
    await terminateMany('compile')
    report({ left: load().counters() })
  },
  async 'terminate-compile-alone'() {
    await terminateMany('compile')
    report({})
  },
  async 'terminate-image-alone'() {
    await terminateMany('image')
    report({})
  },
  async 'exit-of-worker'() {
    const binding = load()
    for (let i = 0; i < times; i++) {
      const worker = await startWorker('work-exit')
      await worker.exited
    }
    report({ left: binding.counters() })
  },

  async 'exit-run'() {
    const lane = await makeLane()
    for (let i = 0; i < 3; i++) run(lane)
    await pause(delay(Number(times)))
    if (load().counters().runsInFlight > 0) report({ inFlight: true })
    process.exit(0)
  },
  async 'exit-compile'() {
    const binding = load()
    const where = await place(binding)
    for (let i = 0; i < 3; i++) compile(binding, heavy, formulaWeights(binding, heavy), where)
    await pause(delay(Number(times)) / 4)
    process.exit(0)
  },
  async 'exit-image'() {
    const binding = load()
    for (let i = 0; i < 3; i++) prepareImage(binding)
    await pause(delay(Number(times)) / 4)
    process.exit(0)
  },
  async 'exit-with-workers'() {
    await Promise.all([startWorker('work-run'), startWorker('work-run'), startWorker('work-compile')])
    await pause(delay(Number(times)))
    process.exit(0)
  },
  async 'throw-run'() {
    const lane = await makeLane()
    run(lane)
    throw new Error('on purpose')
  },

  // The event loop must outlive what is awaited, and end once nothing is.
  async await() {
    const lane = await makeLane()
    await Promise.all([run(lane), run(lane)])
    report({})
  },
  async 'leave-open'() {
    globalThis.kept = await makeLane()
    report({})
  },

  async 'four-workers'() {
    const binding = load()
    const expected = await twoModels()
    const workers = await Promise.all([1, 2, 3, 4].map(() => startWorker('work-two-models')))
    const { poolThreads, poolUsers } = binding.counters()
    report({ expected, results: workers.map((worker) => worker.firstMessage), poolThreads, poolUsers })
    for (const worker of workers) await worker.terminate()
  },

  async collect() {
    const binding = load()
    await (async () => {
      const lane = await makeLane()
      await run(lane)
    })()
    report({ left: await collected(binding, ['weights', 'programs', 'lanes']) })
  },
  // Nobody holds the handles or the views while the run goes on.
  async 'collect-in-flight'() {
    const binding = load()
    const expected = await run(await makeLane())
    const running = await (async () => ({ output: run(await makeLane(), view()) }))()
    for (let i = 0; i < 5; i++) {
      global.gc()
      await pause(2)
    }
    const output = await running.output
    report({
      same: output.every((x, i) => x === expected[i]),
      left: await collected(binding, ['lanes', 'programs']),
    })
  },

  'memory-flat': () => growth(undefined),
  'memory-leaking': () => growth([]),
}

scenarios[scenario]()
