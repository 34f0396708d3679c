/** One round of one driver: the child process of run.ts. Reads a JSON argument, writes a JSON line. */
import type { Opened } from './measure.js'
import { localRound, type RoundCall } from './round.js'
import type { Trial } from './types.js'

const drivers: Record<string, () => { open(trial: Trial, peers: string): Promise<Opened> }> = {
  resnet: () => require('./drivers/resnet.js'),
  'onnxruntime-node': () => require('./drivers/onnxruntime-node.js'),
  'transformers.js': () => require('./drivers/transformers-js.js'),
}

async function main(text: string): Promise<void> {
  const call = JSON.parse(text) as RoundCall
  const { trial, driver, peers } = call
  const round =
    trial.http === undefined
      ? await localRound(call, () => (drivers[driver] as (typeof drivers)[string])().open(trial, peers))
      : await (require('./http.js') as typeof import('./http.js')).httpRound(call, trial.http)
  process.stdout.write(`${JSON.stringify(round)}\n`)
}

main(process.argv[2] as string).catch((error) => {
  // What it says is what run.ts tells; nothing else that still runs here shall keep it.
  process.stderr.write(error instanceof Error ? error.message : String(error), () => process.exit(1))
})
