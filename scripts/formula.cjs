// Weights and inputs by formula, and the fixtures made of them: the JavaScript twin of scripts/formula.py.
//
// Element i of tensor `name` is lo + (hi - lo) * u in float32, a rounding after each operation, where
//   u = (finalise(state + (i + 1) * GAMMA) >> 40) * 2^-24,  state = splitmix64(seed) ^ fnv1a64(name)
// and splitmix64(x) = finalise(x + GAMMA). Generator of record: native/core/weights.h.
const { readFileSync } = require('node:fs')
const path = require('node:path')

const gamma = 0x9e3779b97f4a7c15n
const mask = (1n << 64n) - 1n

function finalise(z) {
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask
  return z ^ (z >> 31n)
}

function fnv1a64(text) {
  let hash = 0xcbf29ce484222325n
  for (const byte of Buffer.from(text)) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & mask
  return hash
}

// High word of the product of two uint32, by 16-bit halves: Math.imul gives only the low word.
function multiplyHigh(a, b) {
  const a0 = a & 0xffff
  const a1 = a >>> 16
  const b0 = b & 0xffff
  const b1 = b >>> 16
  const middle = a1 * b0 + ((a0 * b0) >>> 16)
  const cross = a0 * b1 + (middle & 0xffff)
  return (a1 * b1 + Math.floor(middle / 65536) + Math.floor(cross / 65536)) >>> 0
}

/**
 * The tensor `name`, uniform in [lo, hi), as float32.
 *
 * @param {{ seed: number, name: string, count: number, lo: number, hi: number }} tensor
 * @returns {Float32Array}
 */
function formula({ seed, name, count, lo, hi }) {
  const start = finalise((BigInt(seed) + gamma) & mask) ^ fnv1a64(name)
  const data = new Float32Array(count)
  const low = Math.fround(lo)
  const span = Math.fround(Math.fround(hi) - low)
  const [gammaHigh, gammaLow] = [Number(gamma >> 32n), Number(gamma & 0xffffffffn)]
  let high = Number(start >> 32n)
  let word = Number(start & 0xffffffffn)
  // The 64-bit arithmetic in pairs of words: BigInt would take a microsecond an element.
  for (let i = 0; i < count; i++) {
    const sum = word + gammaLow
    word = sum >>> 0
    high = (high + gammaHigh + (sum > 0xffffffff ? 1 : 0)) >>> 0
    let h = high ^ (high >>> 30)
    let l = (word ^ ((word >>> 30) | (high << 2))) >>> 0
    h = (multiplyHigh(l, 0x1ce4e5b9) + Math.imul(h, 0x1ce4e5b9) + Math.imul(l, 0xbf58476d)) >>> 0
    l = Math.imul(l, 0x1ce4e5b9) >>> 0
    const h2 = h ^ (h >>> 27)
    const l2 = (l ^ ((l >>> 27) | (h << 5))) >>> 0
    h = (multiplyHigh(l2, 0x133111eb) + Math.imul(h2, 0x133111eb) + Math.imul(l2, 0x94d049bb)) >>> 0
    // Of the last xor-shift only the word's upper 24 bits are wanted: u is the top of the high word.
    h = (h ^ (h >>> 31)) >>> 0
    data[i] = Math.fround(low + Math.fround(span * ((h >>> 8) * 2 ** -24)))
  }
  return data
}

const fixtures = path.join(__dirname, '..', 'test', 'fixtures', 'parity')
const readJson = (name) => JSON.parse(readFileSync(path.join(fixtures, name), 'utf8'))

const rule = readJson('rule.json')

/** [lo, hi] that the rule gives to a parameter of a network made of `block` ('basic' or 'bottleneck'). */
function parameterRange(block, name, shape) {
  for (const row of rule.parameters) {
    const pattern = new RegExp(row.name.replace('{lastNorm}', rule.lastNorm[block]))
    if (row.rank !== shape.length || !pattern.test(name)) continue
    const fanIn = shape.slice(1).reduce((product, size) => product * size, 1)
    const divisor = row.perRootFanIn ? Math.sqrt(fanIn) : 1
    return [row.lo / divisor, row.hi / divisor]
  }
  throw new Error(`no rule for parameter ${name} of shape [${shape}]`)
}

/** What `weightsFromFormula` takes for a network's parameters. */
function formulaTensors(block, parameters) {
  return parameters.map(({ name, shape }) => {
    const [lo, hi] = parameterRange(block, name, shape)
    return { name, shape, lo, hi }
  })
}

/** `images` images from the first on, [images, channels, height, width]. */
function inputImages({ images, channels, height, width }) {
  const size = channels * height * width
  const data = new Float32Array(images * size)
  const { name, lo, hi } = rule.inputs
  for (let image = 0; image < images; image++) {
    data.set(
      formula({ seed: rule.seed, name: name.replace('{image}', image), count: size, lo, hi }),
      image * size,
    )
  }
  return data
}

/** Flat positions of `count` elements spread over a tensor of `total`. */
function samplePositions(total, count) {
  return Array.from({ length: count }, (_, i) => (total <= count ? i : (i * rule.samples.multiplier) % total))
}

/** The networks' rows, each tensor with its `expected` Float32Array of [images, samples]. */
function networkFixtures() {
  const { rows, ...head } = readJson('networks.json')
  const bytes = readFileSync(path.join(fixtures, 'networks.bin'))
  const all = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
  for (const row of rows) {
    for (const tensor of row.tensors) {
      tensor.expected = all.subarray(tensor.begin, tensor.begin + tensor.images.length * tensor.samples)
    }
  }
  return { ...head, rows }
}

/** The operations' rows, `expected` decoded. */
function opFixtures() {
  const { rows, ...head } = readJson('ops.json')
  for (const row of rows) {
    const bytes = Buffer.from(row.data, 'base64')
    row.expected = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
  }
  return { ...head, rows }
}

/**
 * max|ours - reference| / max|reference| over the samples of the first `batch` images; NaN where ours is.
 *
 * @param {{ images: number[], samples: number, shape: number[], max: number, expected: Float32Array }} tensor
 * @param {Float32Array} data [batch, ...tensor.shape]
 */
function sampledError(tensor, data, batch) {
  const size = tensor.shape.reduce((product, length) => product * length, 1)
  if (data.length !== batch * size) {
    throw new Error(`expected ${batch} x [${tensor.shape}] elements of ${tensor.name}, got ${data.length}`)
  }
  const positions = samplePositions(size, tensor.samples)
  let worst = 0
  tensor.images.forEach((image, row) => {
    if (image >= batch) return
    positions.forEach((position, i) => {
      const error = Math.abs(data[image * size + position] - tensor.expected[row * tensor.samples + i])
      worst = Math.max(worst, error) // NaN stays NaN
    })
  })
  return worst / tensor.max
}

module.exports = {
  formula,
  rule,
  parameterRange,
  formulaTensors,
  inputImages,
  samplePositions,
  networkFixtures,
  opFixtures,
  sampledError,
}
