// One trial in one driver: the child process of run.mjs. Reads a JSON argument, writes a JSON line.
import { inputImages } from '../scripts/formula.cjs'

const { trial, driver, files, network, seconds, peers } = JSON.parse(process.argv[2])
const { measure } = await import(`./kinds/${trial.kind}.mjs`)
const { open } = await import(`./drivers/${driver.module}.mjs`)

const { channels, height, width } = network
const shape = [trial.batch, channels, height, width]
const data = inputImages({ images: trial.batch, channels, height, width })

const start = performance.now()
const opened = await open({ ...files, ...driver, batch: trial.batch, threads: trial.threads, peers })
const openMs = performance.now() - start
const run = opened.bind(data, shape)
const result = await measure({ run, openMs, seconds })
const logits = await run()
const answer = Buffer.from(logits.buffer, logits.byteOffset, logits.byteLength).toString('base64')
const { version, settings } = opened
await opened.close()
process.stdout.write(`${JSON.stringify({ ...result, version, settings, answer })}\n`)
