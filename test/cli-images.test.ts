// What classify and embed have in common, in this process.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { overImages } from '../lib/cli/images.js'
import { packageRoot } from '../lib/root.js'

const folder = mkdtempSync(path.join(tmpdir(), 'resnet-cli-images-'))
afterAll(() => rmSync(folder, { recursive: true }))

test('as many images at once as the model decodes ahead: on many cores that is more than two batches', async () => {
  const images = Array<string>(300).fill(path.join(packageRoot, 'models', 'samples', '3.png'))
  const output = path.join(folder, 'out.ndjson')
  let busy = 0
  let most = 0
  const command = {
    run: async () => {
      most = Math.max(most, ++busy)
      await pause(20)
      return busy--
    },
    member: 'busy',
    json: (result: number) => result,
    text: String,
  }
  expect(await overImages(images, { device: 'cpu', threads: 20, output }, command)).toBe(0)
  // Two batches of 8 for each of 10 lanes, into which 20 threads may be divided.
  expect(most).toBe(160)
  expect(readFileSync(output, 'utf8').trimEnd().split('\n')).toHaveLength(300)
})
