import { type TracingChannel, tracingChannel } from 'node:diagnostics_channel'

/** The context of the events on `tracing:resnet:call:*`: one call of a model. */
export interface CallTrace {
  method: string
  images: number
  priority: number
  /** Images that waited when it came. */
  queueDepth: number
}

/** The context of the events on `tracing:resnet:batch:*`: one run of the network. */
export interface BatchTrace {
  images: number
  /** Calls that share it. */
  calls: number
  /** Height and width of the images. */
  height: number
  width: number
  device: string
}

/** Whether anybody listens: events for nobody would cost a promise and a few closures each. */
export function isWatched({
  start,
  end,
  asyncStart,
  asyncEnd,
  error,
}: TracingChannel<string, object>): boolean {
  return (
    start.hasSubscribers ||
    end.hasSubscribers ||
    asyncStart.hasSubscribers ||
    asyncEnd.hasSubscribers ||
    error.hasSubscribers
  )
}

export const callChannel = tracingChannel<string, CallTrace>('resnet:call')
export const batchChannel = tracingChannel<string, BatchTrace>('resnet:batch')
