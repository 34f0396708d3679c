// Asks peer.py: one request, one answer.
import { spawn } from 'node:child_process'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { python } from './environment.mjs'
import { mode, scratch } from './step.mjs'

const script = path.join(path.dirname(fileURLToPath(import.meta.url)), 'peer.py')

export function startPeer() {
  const child = spawn(python(), ['-u', script, '--mode', mode, '--scratch', scratch], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const waiting = []
  let ended
  createInterface({ input: child.stdout }).on('line', (text) => {
    if (!text.startsWith('{')) return console.log(text)
    const { error, ...answer } = JSON.parse(text)
    const { resolve, reject } = waiting.shift()
    if (error === undefined) resolve(answer)
    else reject(new Error(`PyTorch: ${error}`))
  })
  child.on('close', (code) => {
    ended = new Error(`the process of PyTorch ended with status ${code}`)
    for (const { reject } of waiting.splice(0)) reject(ended)
  })
  return {
    ask(name, given = {}) {
      if (ended) return Promise.reject(ended)
      return new Promise((resolve, reject) => {
        waiting.push({ resolve, reject })
        child.stdin.write(`${JSON.stringify({ [name]: given })}\n`)
      })
    },
    async end() {
      child.stdin.end()
      if (!ended) await new Promise((resolve) => child.on('close', resolve))
    },
  }
}
