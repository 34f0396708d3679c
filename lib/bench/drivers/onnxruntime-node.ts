import { createRequire } from 'node:module'
import path from 'node:path'
import type { Opened } from '../measure.js'
import type { Trial } from '../types.js'

/** What of onnxruntime-node is used here; it is no dependency. */
interface Runtime {
  Tensor: new (type: 'float32', data: Float32Array, shape: readonly number[]) => unknown
  InferenceSession: { create(file: string, options: object): Promise<Session> }
}
interface Session {
  inputNames: string[]
  outputNames: string[]
  run(feeds: Record<string, unknown>): Promise<Record<string, { data: Float32Array }>>
  release(): Promise<void>
}

/**
 * onnxruntime-node on its CPU provider, as fast as its documented session options make it: every graph optimisation (the
 * blocked layout, the fusions of norm, shortcut and relu), sequential execution with all threads inside an operator,
 * spinning workers (its default), arena and memory pattern, the batch size fixed. An open loop's calls bring one image.
 */
export async function open({ network, threads, batch, load }: Trial, peers: string): Promise<Opened> {
  const installed = createRequire(path.join(peers, 'package.json'))
  const runtime = installed('onnxruntime-node') as Runtime
  const settings = {
    executionProviders: ['cpu'],
    graphOptimizationLevel: 'all',
    executionMode: 'sequential',
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    enableCpuMemArena: true,
    enableMemPattern: true,
    freeDimensionOverrides: { N: load.kind === 'open' ? 1 : batch },
    logSeverityLevel: 3,
  }
  const session = await runtime.InferenceSession.create(network.onnx as string, settings)
  const [input] = session.inputNames as [string]
  const [output] = session.outputNames as [string]
  return {
    version: installed('onnxruntime-node/package.json').version,
    settings,
    bind(data, shape) {
      const feeds = { [input]: new runtime.Tensor('float32', data, shape) }
      return async () => ((await session.run(feeds))[output] as { data: Float32Array }).data
    },
    close: () => session.release(),
  }
}
