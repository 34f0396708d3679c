import path from 'node:path'
import { packageRoot } from './root.js'

/** Models that ship in the package, as paths for `ResNet.load`. */
export const models = Object.freeze({
  /** A resnet20 that knows handwritten digits, 0 to 9, and nothing else. */
  digits: path.join(packageRoot, 'models', 'digits.safetensors'),
})
