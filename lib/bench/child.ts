/** One round of one driver: the child process of run.ts. Reads a JSON argument, writes a JSON line. */
import { measure, type Opened } from './measure.js'
import type { Trial } from './types.js'

export interface ChildCall {
  trial: Trial
  driver: string
  seconds: number
  rate?: number
  /** Folder from whose node_modules a peer is loaded. */
  peers: string
}

const drivers: Record<string, () => { open(trial: Trial, peers: string): Promise<Opened> }> = {
  resnet: () => require('./drivers/resnet.js'),
  'onnxruntime-node': () => require('./drivers/onnxruntime-node.js'),
}

async function main(text: string): Promise<void> {
  const { trial, driver, seconds, rate, peers } = JSON.parse(text) as ChildCall
  const start = performance.now()
  const opened = await (drivers[driver] as (typeof drivers)[string])().open(trial, peers)
  const openMs = performance.now() - start
  const measured = await measure({ trial, opened, openMs, seconds, rate })
  const { version, settings } = opened
  await opened.close()
  process.stdout.write(`${JSON.stringify({ version, settings, measured })}\n`)
}

void main(process.argv[2] as string)
