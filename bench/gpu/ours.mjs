// Our networks on the GPU, with the weights that reference.py and peer.py compute too: one way to them through the package's
// own API, and one straight to a lane's queue, which holds work for the device without JavaScript in between.
import { createRequire } from 'node:module'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { formulaTensors, parameterRange, rule } from '../../scripts/formula.cjs'
import { classes, dry, report, scratch } from './step.mjs'

const require = createRequire(import.meta.url)
const { buildNetwork, inputName, logitsName } = require('../../dist/architecture/build.js')
const { architectureNamed } = require('../../dist/architecture/families.js')
const { lower } = require('../../dist/graph/lower.js')
const { addon } = require('../../dist/native/call.js')
const { cudaDevice, leaseDevice } = require('../../dist/native/devices.js')
const { cudaBackend } = require('../../dist/native/plugin.js')
const { createFromFormula } = require('../../dist/resnet.js')

/** A simulated device would race its engines on the host. */
const defaultAutotune = dry ? 'off' : 'quick'

/** Where the package keeps engines in this run (environment.mjs): both ways to a network share one race. */
const keptEngines = path.join(scratch, 'cache', 'resnet', 'engines')

/** Of ImageNet: what uint8 images are normalised by. */
export const normalisation = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }

/** 'tf32' is float32 with TF32 allowed. */
export const precisionOf = (dtype) =>
  dtype === 'tf32' ? { dtype: 'float32', float32Precision: 'tf32' } : { dtype, float32Precision: 'high' }

/** The network; in a rehearsal with a quarter of its channels, as torch_network.py has it then. */
export function specOf(name, changes = {}) {
  const spec = architectureNamed(name, changes)
  if (!dry || spec.stem === 'cifar') return spec
  return architectureNamed(name, { ...changes, widths: spec.widths.map((width) => width / 4), stemWidth: 64 })
}

/** A model of the package, on CUDA, weights by formula. */
export function openModel(name, dtype, { outputStride, ...options } = {}) {
  const spec = specOf(name, { outputStride })
  const ranges = (parameter, shape) => parameterRange(spec.block, parameter, shape)
  return createFromFormula(spec, rule.seed, ranges, {
    device: 'cuda',
    autotune: defaultAutotune,
    ...precisionOf(dtype),
    ...options,
  })
}

/** The plan that gives logits for uint8 or float32 NHWC images. */
export function planOf(name, { size, dtype, input = 'uint8' }) {
  const spec = specOf(name)
  const { graph } = buildNetwork(spec)
  const shape = [size, size, spec.inChannels]
  const inputs = [
    { name: inputName, shape, dtype: input, layout: 'nhwc', ...(input === 'uint8' ? normalisation : {}) },
  ]
  const outputs = [{ name: logitsName, layout: 'nchw' }]
  return { spec, plan: lower({ graph, inputs, outputs, dtype: precisionOf(dtype).dtype }).plan }
}

/** Network and weights on the device, from which programs of any batch are compiled. */
export class DeviceNetwork {
  static async open(
    name,
    { size, dtype, graphs = true, autotune = defaultAutotune, engineCache = keptEngines },
  ) {
    const binding = addon()
    const { plugin, info } = await cudaDevice(binding, 'cuda')
    const lease = await leaseDevice(plugin, info.index, 0)
    const { spec, plan } = planOf(name, { size, dtype })
    const tensors = formulaTensors(spec.block, plan.parameters)
    const weights = binding.weightsFromFormula({ seed: rule.seed, tensors })
    const { float32Precision } = precisionOf(dtype)
    const call = {
      plan: JSON.stringify(plan),
      weights,
      threads: 0,
      float32Precision,
      device: lease.device,
      deterministic: false,
      autotune,
      graphs,
      workspaceLimit: 256 * 2 ** 20,
      ...(engineCache === false ? {} : { engineCache }),
    }
    return Object.assign(new DeviceNetwork(), { binding, plugin, lease, weights, call, plan, size })
  }

  async compile(batch, options = {}) {
    const program = await this.binding.compile({ ...this.call, maxBatch: batch, ...options })
    const lane = await program.createLane()
    return new DeviceProgram(this, program, lane, batch)
  }

  async close() {
    await this.weights.dispose()
    await this.lease.release()
  }
}

/** uint8 NHWC images without a pattern; peer.py makes the same. */
export function pixelsOf(images, size) {
  const data = new Uint8Array(images * size ** 2 * 3)
  for (let i = 0; i < data.length; ++i) data[i] = (Math.imul(i, 2654435761) >>> 16) & 255
  return data
}

const depth = 4

/** One batch size: images and logits lie in the device's memory. */
class DeviceProgram {
  constructor(network, program, lane, batch) {
    Object.assign(this, { network, program, lane, batch, buffers: [] })
  }

  async prepare() {
    const { device } = this.network.lease
    const bytes = this.batch * this.network.size ** 2 * 3
    for (let i = 0; i < depth; ++i) {
      const images = await device.allocate({ bytes })
      const pixels = Uint8Array.from(
        { length: bytes },
        (_, at) => (Math.imul(at + i, 2654435761) >>> 16) & 255,
      )
      await images.upload({ from: pixels })
      const logits = await device.allocate({ bytes: this.batch * classes * 4 })
      this.buffers.push({ images, logits })
    }
  }

  run({ images, logits }) {
    const piece = (memory) => [[{ memory, offset: 0, bytes: memory.info.bytes }]]
    return this.lane.run({ batch: this.batch, inputs: piece(images), outputs: piece(logits) })
  }

  /** Images a second while the lane always has the next batch waiting: the device never waits for this thread. */
  async throughput(seconds) {
    await Promise.all(this.buffers.map((buffers) => this.run(buffers)))
    let batches = 0
    const begun = performance.now()
    const end = begun + seconds * 1000
    await Promise.all(
      this.buffers.map(async (buffers) => {
        do {
          await this.run(buffers)
          ++batches
        } while (performance.now() < end)
      }),
    )
    return (batches * this.batch * 1000) / (performance.now() - begun)
  }

  async logits() {
    const [{ logits }] = this.buffers
    await this.run(this.buffers[0])
    const data = new Float32Array(this.batch * classes)
    await logits.download({ to: data })
    return data
  }

  async close() {
    await this.lane.dispose()
    await this.program.dispose()
    for (const { images, logits } of this.buffers) {
      images.dispose()
      logits.dispose()
    }
  }
}

/** Checks that the backend holds nothing more, once everything has been disposed of. */
export async function checkNothingAlive(name) {
  const { plugin } = await cudaBackend(addon())
  const living = () => {
    const { programs, lanes, buffers, submissions } = plugin.liveCounts()
    return { programs, lanes, buffers, submissions }
  }
  // A program is freed by whichever of the backend's threads lets go of it last, a moment after dispose().
  let alive = living()
  for (let i = 0; i < 20 && Object.values(alive).some((count) => count > 0); ++i) {
    await sleep(100)
    alive = living()
  }
  const good = Object.values(alive).every((count) => count === 0)
  report('check', { name, good, detail: JSON.stringify(alive) })
}
