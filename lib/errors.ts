/** Every code, as in native/core/status.h and docs/errors.md; a test compares the three. */
export const errorCodes = [
  'ERR_RESNET_INVALID_ARGUMENT',
  'ERR_RESNET_UNSUPPORTED',
  'ERR_RESNET_UNAVAILABLE',
  'ERR_RESNET_IO',
  'ERR_RESNET_OUT_OF_MEMORY',
  'ERR_RESNET_DEVICE_LOST',
  'ERR_RESNET_CORRUPT',
  'ERR_RESNET_MISMATCH',
  'ERR_RESNET_IMAGE',
  'ERR_RESNET_QUEUE_FULL',
  'ERR_RESNET_DISPOSED',
  'ERR_RESNET_INTERNAL',
] as const

export type ResNetErrorCode = (typeof errorCodes)[number]

export interface ResNetErrorDetails {
  cause?: unknown
  step?: string
  index?: number
}

/**
 * Every error that this package raises. Match on `code`, which stays from version to version; `message` says what was
 * expected, the name, the value received, and what to do.
 */
export class ResNetError extends Error {
  override readonly name = 'ResNetError'
  readonly code: ResNetErrorCode
  /** Name of the failing step of the network ('layer1.0.conv2'), when there is one. */
  declare readonly step?: string
  /** Position of the failing image in the array that the call was given. */
  declare readonly index?: number

  constructor(code: ResNetErrorCode, message: string, details: ResNetErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = code
    if (details.step !== undefined) this.step = details.step
    if (details.index !== undefined) this.index = details.index
  }
}

export function invalidArgument(message: string, details?: ResNetErrorDetails): ResNetError {
  return new ResNetError('ERR_RESNET_INVALID_ARGUMENT', message, details)
}

export function unsupported(message: string, details?: ResNetErrorDetails): ResNetError {
  return new ResNetError('ERR_RESNET_UNSUPPORTED', message, details)
}
