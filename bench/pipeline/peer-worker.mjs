// One worker of peer.mjs: decodes, resizes and crops with sharp as torchvision's preset says, runs the batch, and answers
// with the best class of each image. Decoding of the next message begins before the network of this one runs.
import { createRequire } from 'node:module'
import path from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'
import sharp from 'sharp'

const { onnx, peers, preset, batch, sessionThreads, sharpThreads } = workerData
const { resize, crop, mean, std, channels } = preset
sharp.concurrency(sharpThreads)
sharp.cache(false)
const ort = createRequire(path.join(peers, 'package.json'))('onnxruntime-node')
const session = await ort.InferenceSession.create(onnx, {
  executionProviders: ['cpu'],
  graphOptimizationLevel: 'all',
  executionMode: 'sequential',
  intraOpNumThreads: sessionThreads,
  interOpNumThreads: 1,
  freeDimensionOverrides: { N: batch },
  logSeverityLevel: 3,
})
const [input] = session.inputNames
const [output] = session.outputNames

async function pixels(jpeg, into) {
  const image = sharp(jpeg, { sequentialRead: true })
  const { width, height } = await image.metadata()
  const [w, h] =
    width < height
      ? [resize, Math.floor((resize * height) / width)]
      : [Math.floor((resize * width) / height), resize]
  const data = await image
    .resize(w, h, { fit: 'fill', kernel: 'linear', fastShrinkOnLoad: false })
    .extract({
      left: Math.round((w - crop) / 2),
      top: Math.round((h - crop) / 2),
      width: crop,
      height: crop,
    })
    .toColourspace(channels === 1 ? 'b-w' : 'srgb')
    .raw()
    .toBuffer()
  const plane = crop * crop
  for (let c = 0; c < channels; ++c) {
    const scale = 1 / (255 * std[c])
    const shift = -mean[c] / std[c]
    for (let i = 0; i < plane; ++i) into[c * plane + i] = data[i * channels + c] * scale + shift
  }
}

async function decode(list) {
  const size = channels * crop * crop
  const data = new Float32Array(list.length * size)
  await Promise.all(list.map((jpeg, i) => pixels(jpeg, data.subarray(i * size, (i + 1) * size))))
  return new ort.Tensor('float32', data, [list.length, channels, crop, crop])
}

let running = Promise.resolve()
parentPort.on('message', (list) => {
  if (list === 'end') {
    void running.then(() => session.release()).then(() => parentPort.close())
    return
  }
  const decoding = decode(list)
  running = running.then(async () => {
    const { data } = (await session.run({ [input]: await decoding }))[output]
    const classes = data.length / list.length
    const best = list.map((_, i) => {
      const row = data.subarray(i * classes, (i + 1) * classes)
      return row.indexOf(Math.max(...row))
    })
    parentPort.postMessage(best)
  })
})
parentPort.postMessage('ready')
