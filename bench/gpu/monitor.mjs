// Starts monitor.py, and reads what it has seen.
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { python } from './environment.mjs'

const script = path.join(path.dirname(fileURLToPath(import.meta.url)), 'monitor.py')

export const monitorFile = (scratch) => path.join(scratch, 'monitor.jsonl')

/** @returns a function that ends it. */
export function startMonitor(scratch, onError) {
  const child = spawn(python(), [script, monitorFile(scratch)], { stdio: ['pipe', 'ignore', 'pipe'] })
  child.stderr.on('data', (data) => onError(data.toString()))
  child.stdin.on('error', () => {})
  child.on('error', ({ message }) => onError(`${message}\n`))
  return () => {
    child.stdin.end('end\n')
    child.unref()
  }
}

/** What was seen between two times of Date.now(). */
export function seenBetween(scratch, from, to = Date.now()) {
  const file = monitorFile(scratch)
  if (!existsSync(file)) return []
  return readFileSync(file, 'utf8')
    .split('\n')
    .flatMap((text) => {
      try {
        return [JSON.parse(text)]
      } catch {
        return [] // the last line may be half written
      }
    })
    .filter(({ at }) => at * 1000 >= from && at * 1000 <= to)
}
