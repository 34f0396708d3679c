// ResNet-50 in float16 beside torch.compile(mode="max-autotune") at one batch. Compiling takes a minute or more: these steps come
// last, with the time that is left, and `--resume` runs those that had none.
import { DeviceNetwork } from './ours.mjs'
import { startPeer } from './peer.mjs'
import { amount, batch, dry, report } from './step.mjs'

const network = dry ? 'resnet18' : 'resnet50'
const size = dry ? 32 : 224
const dtype = 'float16'
const driver = 'torch.compile max-autotune'

const peer = startPeer()
await peer.ask('open', { network, dtype, size })
await peer.ask('prepare', { batch })
const { seconds } = await peer.ask('compile')
report('figure', { name: `torch.compile of ${network} batch ${batch}`, value: seconds, unit: 's' })

const ours = await DeviceNetwork.open(network, { size, dtype })
const program = await ours.compile(batch)
await program.prepare()
const rounds = { ours: [], theirs: [] }
for (let round = 0; round < amount.rounds; ++round) {
  rounds.ours.push(await program.throughput(amount.seconds))
  const answer = await peer.ask('measure', { driver, memory: 'device', seconds: amount.seconds })
  rounds.theirs.push(answer.imagesPerSecond)
}
report('speed', { network, dtype, batch, driver: 'resnet', memory: 'device', rounds: rounds.ours })
report('speed', { network, dtype, batch, driver, memory: 'device', rounds: rounds.theirs })
await program.close()
await ours.close()
await peer.end()
