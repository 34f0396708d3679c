import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Opened } from '../measure.js'
import { nodePackage } from '../peers.js'
import type { Trial } from '../types.js'
import { sessionOptions } from './onnxruntime-node.js'

/** What of @huggingface/transformers is used here; it is no dependency. */
interface Transformers {
  env: { allowRemoteModels: boolean }
  Tensor: new (type: 'float32', data: Float32Array, shape: readonly number[]) => unknown
  AutoModel: { from_pretrained(folder: string, options: object): Promise<Model> }
}
interface Model {
  (inputs: Record<string, unknown>): Promise<Record<string, { data: Float32Array }>>
  sessions: { model: { inputNames: string[]; outputNames: string[] } }
  dispose(): Promise<unknown>
}

/**
 * transformers.js on onnxruntime-node, its model class without its pipeline: tensors in, logits out, as of the others. It
 * gets the ONNX file in a folder as from a hub, and onnxruntime's session options as its own driver has them.
 */
export async function open(trial: Trial, peers: string): Promise<Opened> {
  const installed = createRequire(path.join(peers, 'package.json'))
  const { AutoModel, Tensor, env } = installed('@huggingface/transformers') as Transformers
  env.allowRemoteModels = false
  const folder = await mkdtemp(path.join(tmpdir(), 'resnet-bench-'))
  await mkdir(path.join(folder, 'onnx'))
  await writeFile(path.join(folder, 'config.json'), '{ "model_type": "resnet" }')
  const model = trial.network.onnx as string
  // Windows lets not everybody make links.
  await symlink(model, path.join(folder, 'onnx', 'model.onnx')).catch(() =>
    copyFile(model, path.join(folder, 'onnx', 'model.onnx')),
  )
  const settings = { device: 'cpu', dtype: 'fp32', session_options: sessionOptions(trial) }
  const network = await AutoModel.from_pretrained(folder, {
    ...settings,
    local_files_only: true,
  })
  const [input] = network.sessions.model.inputNames as [string]
  const [output] = network.sessions.model.outputNames as [string]
  return {
    version: nodePackage(installed, '@huggingface/transformers')?.version ?? '',
    settings,
    bind(data, shape) {
      const feeds = { [input]: new Tensor('float32', data, shape) }
      return async () => ((await network(feeds))[output] as { data: Float32Array }).data
    },
    async close() {
      await network.dispose()
      await rm(folder, { recursive: true })
    },
  }
}
