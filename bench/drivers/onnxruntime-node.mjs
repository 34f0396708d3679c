// onnxruntime-node on its CPU provider, as fast as its documented session options make it: every graph optimisation
// (the blocked NCHWc layout and the fusions of norm, shortcut and relu among them), sequential execution with all
// threads inside an operator, spinning workers (its default), the memory arena and pattern, and the batch size fixed.
import { createRequire } from 'node:module'
import path from 'node:path'

/** Where the benchmark installs it (../peers.mjs). */
export const npmPackage = { name: 'onnxruntime-node', version: '1.30.0' }

export async function open({ onnx, batch, threads, peers }) {
  const require = createRequire(path.join(peers, 'package.json'))
  const ort = require('onnxruntime-node')
  const settings = {
    executionProviders: ['cpu'],
    graphOptimizationLevel: 'all',
    executionMode: 'sequential',
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    enableCpuMemArena: true,
    enableMemPattern: true,
    freeDimensionOverrides: { N: batch },
    logSeverityLevel: 3,
  }
  const session = await ort.InferenceSession.create(onnx, settings)
  const [input] = session.inputNames
  const [output] = session.outputNames
  return {
    version: require('onnxruntime-node/package.json').version,
    settings,
    bind(data, shape) {
      const feeds = { [input]: new ort.Tensor('float32', data, shape) }
      return async () => (await session.run(feeds))[output].data
    },
    close: () => session.release(),
  }
}
