import type { ExitCode } from './exit.js'
import { type ImageOptions, overImages } from './images.js'

const shown = 6

/** `resnet embed`: the pooled features of every image. */
export function embed(names: string[], options: ImageOptions): Promise<ExitCode> {
  return overImages<number[]>(names, options, {
    run: async (model, image, signal) => Array.from((await model.embed(image, { signal })).data),
    member: 'embedding',
    json: (embedding) => embedding,
    text: (file, embedding) => {
      const start = embedding.slice(0, shown).map((value) => value.toFixed(4))
      return `${file}\n  ${embedding.length} numbers: ${start.join(' ')} … (all of them with --json)\n`
    },
  })
}
