import { setMaxListeners } from 'node:events'

/**
 * Calls `listener` when the signal aborts, until the returned function is called. One signal may cancel any number of
 * calls, so the warning of Node about many listeners is turned off for it.
 */
export function onAbort(signal: AbortSignal | undefined, listener: () => void): () => void {
  if (signal === undefined) return () => {}
  setMaxListeners(0, signal)
  signal.addEventListener('abort', listener, { once: true })
  return () => signal.removeEventListener('abort', listener)
}
