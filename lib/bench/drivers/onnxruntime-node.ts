import { createRequire } from 'node:module'
import path from 'node:path'
import type { Opened } from '../measure.js'
import { nodePackage } from '../peers.js'
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
export function sessionOptions({ device, dtype, threads, batch, load }: Trial) {
  if (device !== 'cpu' || dtype !== 'float32') {
    throw new Error(`this driver computes in float32 on the CPU only, received ${dtype} on ${device}`)
  }
  return {
    executionProviders: ['cpu'],
    graphOptimizationLevel: 'all',
    executionMode: 'sequential',
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    enableCpuMemArena: true,
    enableMemPattern: true,
    freeDimensionOverrides: { N: load.kind === 'closed' ? batch : 1 },
    logSeverityLevel: 3,
  }
}

export async function open(trial: Trial, peers: string): Promise<Opened> {
  const installed = createRequire(path.join(peers, 'package.json'))
  const runtime = installed('onnxruntime-node') as Runtime
  const settings = sessionOptions(trial)
  const session = await runtime.InferenceSession.create(trial.network.onnx as string, settings)
  const [input] = session.inputNames as [string]
  const [output] = session.outputNames as [string]
  return {
    version: nodePackage(installed, 'onnxruntime-node')?.version ?? '',
    settings,
    bind(data, shape) {
      const feeds = { [input]: new runtime.Tensor('float32', data, shape) }
      return async () => ((await session.run(feeds))[output] as { data: Float32Array }).data
    },
    close: () => session.release(),
  }
}
