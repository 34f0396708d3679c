import { spawnSync } from 'node:child_process'
import sharp from 'sharp'
import { preprocess } from '../lib/image/decode.js'
import type { Preprocessing } from '../lib/image/types.js'
import { models, ResNet } from '../lib/index.js'
import { addon } from '../lib/native/call.js'
import { packageRoot } from '../lib/root.js'
import { refusal } from './support/refusal.js'

const preset: Preprocessing = {
  resize: 32,
  crop: 32,
  interpolation: 'bilinear',
  mean: [0.5, 0.5, 0.5],
  std: [0.5, 0.5, 0.5],
  source: 'test',
}
let large: Buffer
let small: Buffer
beforeAll(async () => {
  const noise = { type: 'gaussian', mean: 128, sigma: 50 } as const
  const jpegOf = (width: number, height: number) =>
    sharp({ create: { width, height, channels: 3, background: 'white', noise } })
      .jpeg()
      .toBuffer()
  large = await jpegOf(4000, 3000)
  small = await jpegOf(32, 32)
})

/** The order in which a large and a small JPEG are ready, begun in that order. */
async function order(lines: [number, number], threads: number): Promise<string[]> {
  const ready: string[] = []
  const prepare = (name: string, bytes: Buffer, line: number) =>
    preprocess(bytes, preset, { line: { line, threads } }).then(() => ready.push(name))
  await Promise.all([prepare('large', large, lines[0]), prepare('small', small, lines[1])])
  return ready
}

test('a line has no more images in preparation than it is given', async () => {
  expect(await order([101, 101], 1)).toEqual(['large', 'small'])
  expect(await order([101, 101], 2)).toEqual(['small', 'large'])
})

test('one line does not wait for another', async () => {
  expect(await order([101, 102], 1)).toEqual(['small', 'large'])
})

describe('the option', () => {
  /** In a process with this environment: what stats() says, or how a classification fails. */
  const inProcess = (environment: string | undefined, options: object) => {
    const { RESNET_IMAGE_THREADS: _, ...env } = process.env
    if (environment !== undefined) env.RESNET_IMAGE_THREADS = environment
    const program = `
      const { models, ResNet } = require(${JSON.stringify(packageRoot)})
      ResNet.load(models.digits, ${JSON.stringify({ device: 'cpu', ...options })}).then(async (model) => {
        const failure = await model.classify(models.digits.replace(/[^/]*$/, 'samples/1.png')).then(() => {}, ({ message }) => message)
        console.log(failure ?? model.stats().imageThreads)
        await model.dispose()
      })`
    const { stdout, stderr } = spawnSync(process.execPath, ['-e', program], { env, encoding: 'utf8' })
    return stdout.trim() || stderr
  }

  test('is what it says, else what the environment says, else as many as the network has', () => {
    expect(inProcess(undefined, {})).toBe(String(addon().cpuInfo().threads))
    expect(inProcess(undefined, { threads: 3 })).toBe('3')
    expect(inProcess(undefined, { threads: 3, imageThreads: 5 })).toBe('5')
    expect(inProcess('4', { threads: 3 })).toBe('4')
    expect(inProcess('4', { threads: 3, imageThreads: 5 })).toBe('5')
  })

  test('a number that is none is named by the call that needs it, and by no other', () => {
    expect(inProcess('many', {})).toContain(
      "RESNET_IMAGE_THREADS: expected a number from 1 to 1024, received 'many'",
    )
    expect(inProcess('many', { imageThreads: 2 })).toBe('2')
  })

  test.each([-1, 1.5, 1025, '2'])('%p is refused', async (imageThreads) => {
    const error = await refusal(() => ResNet.load(models.digits, { imageThreads } as never))
    expect(error).toMatchObject({ code: 'ERR_RESNET_INVALID_ARGUMENT' })
    expect(error.message).toContain('imageThreads')
  })
})
