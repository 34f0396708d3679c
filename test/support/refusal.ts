import { ResNetError } from '../../lib/errors.js'

/** The ResNetError that a call must end in; any other end fails the test. */
export async function refusal(call: () => unknown): Promise<ResNetError> {
  try {
    await call()
  } catch (error) {
    if (error instanceof ResNetError) return error
    throw error
  }
  throw new Error('expected a refusal')
}
