import type { Prediction } from '../resnet.js'
import type { ExitCode } from './exit.js'
import { type ImageOptions, overImages } from './images.js'

export interface ClassifyOptions extends ImageOptions {
  top: number
}

/** `resnet classify`: the likeliest labels of every image. */
export function classify(names: string[], options: ClassifyOptions): Promise<ExitCode> {
  return overImages<Prediction[]>(names, options, {
    run: (model, image, signal) => model.classify(image, { topK: options.top, signal }),
    member: 'predictions',
    json: (predictions) => predictions.map(({ label, index, score }) => ({ label, index, score })),
    text: (file, predictions) => `${file}\n${predictions.map(row).join('')}`,
  })
}

function row({ label, score }: Prediction): string {
  return `  ${(score * 100).toFixed(1).padStart(5)} %  ${label}\n`
}
