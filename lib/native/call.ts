import type { Binding, Control, NativeError } from '../../binding.js'
import { offAbort, onAbort, type Signal } from '../abort.js'
import { errorCodes, ResNetError, type ResNetErrorCode } from '../errors.js'
import { loadBinding } from './load.js'

/**
 * The addon.
 * @throws ERR_RESNET_UNAVAILABLE saying what was tried.
 */
export function addon(): Binding {
  try {
    return loadBinding()
  } catch (cause) {
    throw asResNetError(cause)
  }
}

/** A control as it is passed on, and what cancels it. */
class Cancel {
  readonly control = addon().createControl()
  readonly cancel = () => this.control.cancel()
}

/** Those that nobody has cancelled with: nearly every call ends so, and a new one is an object that V8 must finalize. */
const unused: Cancel[] = []
const maxUnused = 64

/**
 * Awaits native work that a signal may cancel; `start` passes on the control, which there is where there is a signal. Rejects with the signal's
 * own reason when it was, else with a ResNetError that has the stack of the call.
 */
export async function native<T>(
  signal: Signal | undefined,
  start: (control: Control | undefined) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted()
  const given = signal === undefined ? undefined : (unused.pop() ?? new Cancel())
  if (given !== undefined) onAbort(signal, given.cancel)
  try {
    return await start(given?.control)
  } catch (error) {
    if ((error as NativeError).code === 'ABORTED') throw signal?.aborted ? signal.reason : closing(error)
    throw asResNetError(error)
  } finally {
    if (given !== undefined) {
      offAbort(signal, given.cancel)
      if (!signal?.aborted && unused.length < maxUnused) unused.push(given)
    }
  }
}

/** The same for what returns at once. */
export function nativeSync<T>(call: () => T): T {
  try {
    return call()
  } catch (error) {
    throw asResNetError(error)
  }
}

function asResNetError(error: unknown): unknown {
  const { code, message, step } = error as NativeError
  if (!errorCodes.includes(code as ResNetErrorCode)) return error
  return new ResNetError(code as ResNetErrorCode, message, { cause: error, step })
}

/** Cancelled though no signal asked for it: the thread is ending. */
function closing(cause: unknown): ResNetError {
  return new ResNetError('ERR_RESNET_DISPOSED', 'The run was cancelled: its worker thread is ending', {
    cause,
  })
}
