/**
 * Loaded into a server that the benchmark starts, before its program (`node --require`): tells the benchmark what the
 * process uses. 'watch' begins, 'usage' ends and answers. It keeps no process alive.
 */
import { watchUsage } from './usage.js'

let stop = watchUsage()

process.on('message', (message) => {
  if (message === 'watch') {
    stop = watchUsage()
    process.send?.({ watching: true })
  } else if (message === 'usage') {
    process.send?.({ usage: stop() })
  }
})
process.channel?.unref()
