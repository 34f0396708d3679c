// From a photograph to logits, against torchvision's preset and network.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { architectureNamed } from '../lib/architecture/families.js'
import { preprocess } from '../lib/image/decode.js'
import type { Preprocessing } from '../lib/image/types.js'
import { createFromFormula, type ResNet } from '../lib/resnet.js'
import { Tensor } from '../lib/tensor.js'
import { parameterRange, rule } from '../scripts/formula.cjs'

interface Answer extends Omit<Preprocessing, 'source'> {
  image: string
  preset: string
  /** Base64 of 1,000 float32. */
  logits: string
}

const folder = path.join(__dirname, 'fixtures', 'images')
const { logits: answers } = JSON.parse(readFileSync(path.join(folder, 'expected.json'), 'utf8')) as {
  logits: Answer[]
}

/** max|ours − reference| / max|reference|: the engine's own, since the input is exact. */
const bound = 1e-4

function expectedLogits({ logits }: Answer): Float32Array {
  return new Float32Array(Uint8Array.from(Buffer.from(logits, 'base64')).buffer)
}

const network = architectureNamed('resnet18', {}, 'test')
const byFormula = (preprocess?: Answer): Promise<ResNet> => {
  const { resize, crop, interpolation, mean, std } = preprocess ?? {}
  const given = preprocess === undefined ? undefined : { resize, crop, interpolation, mean, std }
  return createFromFormula(network, rule.seed, (name, shape) => parameterRange('basic', name, shape), {
    preprocess: given as Preprocessing | undefined,
  })
}

async function errorOf(
  model: ResNet,
  image: string,
  preset: Omit<Preprocessing, 'source'>,
  expected: Float32Array,
) {
  const input = await preprocess(path.join(folder, image), { ...preset, source: 'test' })
  const x = Tensor.from(input.data, [1, input.channels, input.height, input.width])
  const { data } = await model.forward(x)
  const differences = expected.map((value, i) => Math.abs((data[i] as number) - value))
  return Math.max(...differences) / Math.max(...expected.map(Math.abs))
}

describe('logits of photographs', () => {
  let model: ResNet
  beforeAll(async () => {
    model = await byFormula()
  })
  afterAll(() => model.dispose())

  it.each(answers.map((answer) => [`${answer.image}, ${answer.preset}`, answer] as const))(
    '%s',
    async (_, answer) => {
      expect(await errorOf(model, answer.image, answer, expectedLogits(answer))).toBeLessThan(bound)
    },
  )

  it('differ by more with the other preset of torchvision', async () => {
    const [answer] = answers as [Answer]
    const error = await errorOf(model, answer.image, { ...answer, resize: 232 }, expectedLogits(answer))
    expect(error).toBeGreaterThan(bound)
  })
})

it.each(answers.map((answer) => [`${answer.image}, ${answer.preset}`, answer] as const))(
  'top 5 of %s, wherever the margin is larger than the error',
  async (_, answer) => {
    const expected = expectedLogits(answer)
    const ranked = Array.from(expected.keys()).sort(
      (a, b) => (expected[b] as number) - (expected[a] as number),
    )
    const margin = 2 * bound * Math.max(...expected.map(Math.abs))
    const model = await byFormula(answer)
    try {
      const predictions = await model.classify(path.join(folder, answer.image), { topK: 5 })
      const gap = (rank: number) =>
        (expected[ranked[rank] as number] as number) - (expected[ranked[rank + 1] as number] as number)
      const sure = [0, 1, 2, 3, 4].filter(
        (rank) => gap(rank) > margin && (rank === 0 || gap(rank - 1) > margin),
      )
      expect(sure.length).toBeGreaterThanOrEqual(3)
      for (const rank of sure) expect(predictions[rank]?.index).toBe(ranked[rank])
    } finally {
      await model.dispose()
    }
  },
)
