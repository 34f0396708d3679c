// What is measured, as data. A trial runs once per round with every driver, each time in a process of its own.
// `kind` names the module that measures (./kinds), `bound` what the result must reach where that is fixed.

const network = { height: 224, width: 224, channels: 3 }

/** Networks by name; `block` is what the formula of the weights needs to know. */
export const networks = {
  resnet18: { ...network, block: 'basic' },
  resnet50: { ...network, block: 'bottleneck' },
}

const combinations = (...lists) =>
  lists.reduce((rows, list) => rows.flatMap((row) => list.map((item) => [...row, item])), [[]])

const throughput = combinations(['resnet18', 'resnet50'], [1, 8], [1, 2]).map(([net, batch, threads]) => ({
  name: `${net} float32 batch ${batch} threads ${threads}`,
  kind: 'throughput',
  network: net,
  batch,
  threads,
}))

export const trials = [
  ...throughput,
  {
    name: 'resnet50 event loop',
    kind: 'event-loop',
    network: 'resnet50',
    batch: 1,
    threads: 2,
    bound: { p99Ms: 5 },
  },
  {
    name: 'resnet50 load to first result',
    kind: 'load',
    network: 'resnet50',
    batch: 1,
    threads: 2,
    bound: { loadMs: 500, peakMb: 320 },
  },
]

/** Drivers by name, ours first: ratios are taken against the others. Device and dtype are a driver's options. */
export const drivers = [
  { name: 'resnet', module: 'resnet', device: 'cpu', dtype: 'float32' },
  { name: 'onnxruntime-node', module: 'onnxruntime-node', device: 'cpu', dtype: 'float32' },
]
