// ResNet-50 in float16 beside torch.compile(mode="max-autotune"), which takes minutes to compile: last, with the time that is left.
// A process of PyTorch's own for every batch; what is finished is kept when time ends.
import { DeviceNetwork } from './ours.mjs'
import { startPeer } from './peer.mjs'
import { amount, report } from './step.mjs'

const network = 'resnet50'
const dtype = 'float16'
const driver = 'torch.compile max-autotune'

const ours = await DeviceNetwork.open(network, { size: 224, dtype })
for (const batch of [256, 1, 32]) {
  const peer = startPeer()
  await peer.ask('open', { network, dtype, size: 224 })
  await peer.ask('prepare', { batch })
  const { seconds } = await peer.ask('compile')
  report('figure', { name: `torch.compile of ${network} batch ${batch}`, value: seconds, unit: 's' })
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
  await peer.end()
}
ours.close()
