/** The ES module face of `resnet/metrics`. */
export * from './metrics.js'
