import type { Naming } from './naming.js'

/**
 * Hugging Face `ResNetForImageClassification`:
 *   resnet.embedder.embedder.convolution                    conv1        (normalization: bn1)
 *   resnet.encoder.stages.S.layers.B.layer.L.convolution    layer(S+1).B.conv(L+1)
 *   resnet.encoder.stages.S.layers.B.shortcut.convolution   layer(S+1).B.downsample.0   (normalization: .1)
 *   classifier.1                                            fc
 * `ResNetModel` leaves out `resnet.` and the classifier.
 */
export const transformers: Naming = {
  name: 'transformers',
  recognises: (names) =>
    [...names].some((name) => /^(resnet\.)?(embedder\.embedder|encoder\.stages)\./.test(name)),
  toPlan(full) {
    const name = full.replace(/^resnet\./, '')
    const head = /^classifier\.1\.(weight|bias)$/.exec(name)
    if (head !== null) return `fc.${head[1]}`
    const part = /^(.+)\.(convolution|normalization)\.(\w+)$/.exec(name)
    if (part === null) return undefined
    const [, owner = '', kind, parameter] = part
    const convolution = kind === 'convolution'
    if (owner === 'embedder.embedder') return `${convolution ? 'conv1' : 'bn1'}.${parameter}`
    const inside = /^encoder\.stages\.(\d{1,3})\.layers\.(\d{1,6})\.(?:layer\.(\d)|(shortcut))$/.exec(owner)
    if (inside === null) return undefined
    const [, stage, block, layer, shortcut] = inside
    const prefix = `layer${Number(stage) + 1}.${block}`
    if (shortcut !== undefined) return `${prefix}.downsample.${convolution ? 0 : 1}.${parameter}`
    return `${prefix}.${convolution ? 'conv' : 'bn'}${Number(layer) + 1}.${parameter}`
  },
  fromPlan(name) {
    const kindOf = (module: string | undefined) =>
      module === 'conv' || module === '0' ? 'convolution' : 'normalization'
    const head = /^fc\.(\w+)$/.exec(name)
    if (head !== null) return `classifier.1.${head[1]}`
    const stem = /^(conv|bn)1\.(\w+)$/.exec(name)
    if (stem !== null) return `resnet.embedder.embedder.${kindOf(stem[1])}.${stem[2]}`
    const inside = /^layer(\d+)\.(\d+)\.(?:(conv|bn)(\d)|downsample\.(0|1))\.(\w+)$/.exec(name)
    if (inside === null) return name
    const [, stage, block, module, layer, shortcut, parameter] = inside
    const owner = shortcut === undefined ? `layer.${Number(layer) - 1}` : 'shortcut'
    const prefix = `resnet.encoder.stages.${Number(stage) - 1}.layers.${block}`
    return `${prefix}.${owner}.${kindOf(module ?? shortcut)}.${parameter}`
  },
}
