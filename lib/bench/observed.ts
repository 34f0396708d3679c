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
// Whoever measured it is gone, and nobody else will end it.
process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'))
process.channel?.unref()
