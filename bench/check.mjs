// Our logits against PyTorch's: a child process of run.mjs. Reads a trial as JSON, writes the error.
import { createRequire } from 'node:module'
import { inputImages, networkFixtures, sampledError } from '../scripts/formula.cjs'

const require = createRequire(import.meta.url)
const trial = JSON.parse(process.argv[2])
const { network, batch: images } = trial
const { channels, height, width, name } = network
const opened = await require('../dist/bench/drivers/resnet.js').open(trial)
const call = opened.bind(inputImages({ images, channels, height, width }), [images, channels, height, width])
const logits = await call()
const row = networkFixtures().rows.find((fixture) => fixture.name === `${name} ${height}x${width}`)
const expected = row.tensors.find((tensor) => tensor.name === 'logits')
process.stdout.write(JSON.stringify(sampledError(expected, logits, images)))
await opened.close()
