// A single operation, as test/fixtures/parity/ops.json and operations.json describe one, as a graph of its own: x and, of a sum, y0
// in, y out.

const pair = (value, fallback) => (Array.isArray(value) ? value : [value ?? fallback, value ?? fallback])

function conv({ name, input, shape: [k, , r, s], options = {}, ...rest }) {
  return {
    kind: 'conv',
    name,
    input,
    k,
    kernel: [r, s],
    stride: pair(options.stride, 1),
    padding: pair(options.padding, 0),
    dilation: pair(options.dilation, 1),
    groups: options.groups ?? 1,
    activation: 'none',
    ...rest,
  }
}

function norm(prefix, has, eps = 1e-5) {
  const name = (part) => (prefix === '' ? part : `${prefix}.${part}`)
  return {
    ...(has(name('weight')) ? { weight: name('weight') } : {}),
    ...(has(name('bias')) ? { bias: name('bias') } : {}),
    mean: name('running_mean'),
    var: name('running_var'),
    eps,
  }
}

function pool(kind, { kernel, stride, padding, dilation, ceilMode = false, countIncludePad = true }) {
  const window = { kernel: pair(kernel), stride: pair(stride ?? kernel), padding: pair(padding, 0), ceilMode }
  const own = kind === 'avgPool' ? { dilation: [1, 1], countIncludePad } : { dilation: pair(dilation, 1) }
  return [{ kind, name: 'y', input: 'x', ...window, ...own }]
}

/** torchvision's blocks: stride, groups and dilation are the 3x3's; the first one of a basic block, the middle one of a bottleneck. */
function block(bottleneck, shapes, { stride = 1, groups = 1, dilation = 1 }) {
  const has = (name) => shapes.has(name)
  const strided = { stride, groups, dilation, padding: dilation }
  const rows = bottleneck ? [{}, strided, {}] : [{ stride, padding: 1 }, { padding: 1 }]
  const nodes = []
  let shortcut = 'x'
  if (has('downsample.0.weight')) {
    const shape = shapes.get('downsample.0.weight')
    const weight = 'downsample.0.weight'
    nodes.push(
      conv({
        name: 'shortcut',
        input: 'x',
        shape,
        options: { stride },
        weight,
        norm: norm('downsample.1', has),
      }),
    )
    shortcut = 'shortcut'
  }
  let input = 'x'
  for (const [i, options] of rows.entries()) {
    const last = i === rows.length - 1
    const weight = `conv${i + 1}.weight`
    const name = last ? 'y' : `conv${i + 1}`
    const rest = {
      weight,
      norm: norm(`bn${i + 1}`, has),
      activation: 'relu',
      ...(last ? { residual: shortcut } : {}),
    }
    nodes.push(conv({ name, input, shape: shapes.get(weight), options, ...rest }))
    input = name
  }
  return nodes
}

/** A row's nodes; the last one is y. */
export function graphOf({ op, options, parameters, residual, relu = false }) {
  const activation = relu ? 'relu' : 'none'
  const shapes = new Map(parameters.map(({ name, shape }) => [name, shape]))
  const has = (name) => shapes.has(name)
  const bias = has('bias') ? { bias: 'bias' } : {}
  switch (op) {
    case 'conv2d':
      return [
        conv({
          name: 'y',
          input: 'x',
          shape: shapes.get('weight'),
          options,
          weight: 'weight',
          ...bias,
          ...(residual === undefined ? {} : { residual: 'y0' }),
          activation,
        }),
      ]
    case 'linear':
      return [
        { kind: 'linear', name: 'y', input: 'x', k: shapes.get('weight')[0], weight: 'weight', ...bias },
      ]
    case 'maxPool2d':
      return pool('maxPool', options)
    case 'avgPool2d':
      return pool('avgPool', options)
    case 'globalAvgPool2d':
      return [{ kind: 'globalAvgPool', name: 'y', input: 'x' }]
    case 'batchNorm':
      return [{ kind: 'affine', name: 'y', input: 'x', norm: norm('', has, options.eps), activation }]
    case 'relu':
      return [{ kind: 'activation', name: 'y', input: 'x', activation: 'relu' }]
    case 'add':
      return [{ kind: 'add', name: 'y', input: 'x', other: 'y0', activation }]
    case 'softmax':
      return [{ kind: 'softmax', name: 'y', input: 'x' }]
    case 'topK':
      return [{ kind: 'topK', name: 'y', input: 'x', k: options.k }]
    default:
      return block(op === 'bottleneck', shapes, options)
  }
}
