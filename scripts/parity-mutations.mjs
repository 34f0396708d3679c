// Wrong networks that the parity check must tell from the right one. Each changes the graph or the answer in the way
// that a mistake in a builder, a kernel or a table would.

const keep = { graph: (graph) => graph, output: (_name, data) => data }
const mapNodes = (change) => ({ ...keep, graph: (graph) => graph.map((node) => change({ ...node })) })

function strideInThe1x1(graph) {
  const reduced = new Set(
    graph.filter(({ name, stride }) => name.endsWith('.0.conv2') && stride[0] === 2).map(({ name }) => name),
  )
  return graph.map((node) => {
    if (reduced.has(node.name)) return { ...node, stride: [1, 1] }
    return reduced.has(node.name.replace(/conv1$/, 'conv2')) && node.name.endsWith('conv1')
      ? { ...node, stride: [2, 2] }
      : node
  })
}

export const mutations = {
  none: keep,
  /** The paper's and Caffe's place for it; torchvision's is the 3x3. */
  stride: { ...keep, graph: strideInThe1x1 },
  eps: mapNodes((node) => (node.norm ? { ...node, norm: { ...node.norm, eps: 1e-3 } } : node)),
  shortcut: mapNodes((node) =>
    /^layer3\.1\.conv[23]$/.test(node.name) ? { ...node, residual: undefined } : node,
  ),
  relu: mapNodes((node) => (node.name === 'layer3.1.conv1' ? { ...node, activation: 'none' } : node)),
  labels: {
    ...keep,
    output(name, data) {
      if (name !== 'logits') return data
      const swapped = data.slice()
      ;[swapped[0], swapped[1]] = [data[1], data[0]]
      return swapped
    },
  },
}
