/** The ES module face of the package: the same classes as `require('resnet')` gives, so `instanceof` holds between both. */
export * from './index.js'
