// What the repository's benchmark measures, as data: the rows that README quotes.

/** Networks by name; `block` is what the formula of the weights needs to know. */
export const networks = {
  resnet18: { channels: 3, height: 224, width: 224, block: 'basic' },
  resnet50: { channels: 3, height: 224, width: 224, block: 'bottleneck' },
}

const combinations = (...lists) =>
  lists.reduce((rows, list) => rows.flatMap((row) => list.map((item) => [...row, item])), [[]])

export const trials = combinations(Object.keys(networks), [1, 8], [1, 2]).map(
  ([network, batch, threads]) => ({
    network,
    batch,
    threads,
    device: 'cpu',
    dtype: 'float32',
    load: { kind: 'closed' },
  }),
)

/** What our medians must reach whatever the peers do; of trials with one image a call. */
export const bounds = [
  { of: ({ eventLoopP99Ms }) => eventLoopP99Ms, most: 5, what: 'ms event loop delay (p99)' },
  { of: ({ loadMs }) => loadMs, most: 500, what: 'ms from load to first result' },
  { of: ({ loadPeakMb }) => loadPeakMb, most: 320, what: 'MB at the first result' },
]

/** What the benchmark installs for itself, by the peer's name. */
export const packages = {
  'onnxruntime-node': { name: 'onnxruntime-node', version: '1.30.0' },
  'transformers.js': { name: '@huggingface/transformers', version: '4.3.2' },
}
