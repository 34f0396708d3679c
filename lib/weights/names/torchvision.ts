import type { Naming } from './naming.js'

/**
 * Torchvision's names, and timm's for the same networks, are the plan's own: conv1, bn1, layer1.0.conv1,
 * layer1.0.downsample.0, fc.
 */
export const torchvision: Naming = {
  name: 'torchvision',
  recognises: (names) => [...names].some((name) => /^(conv1|bn1|layer1\.0|fc)\./.test(name)),
  toPlan: (name) => name,
  fromPlan: (name) => name,
}
