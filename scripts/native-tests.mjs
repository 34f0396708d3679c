// Runs test executables that print 'skipped: <case> (<reason>)' per skip and end with 'N passed, N failed, N skipped'.
import { spawnSync } from 'node:child_process'
import { root } from './setup.mjs'

/** Sums of a run: counts, and the skips by name. */
export const newTotal = () => ({ passed: 0, failed: 0, skipped: [] })

/** Adds one executable's counts to `total`; shows its output where it failed. */
export function runNativeTest(total, name, file, { args = [], env = {} } = {}) {
  const started = performance.now()
  const child = spawnSync(file, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    env: { ...process.env, ...env },
  })
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  const output = `${child.stdout ?? ''}${child.stderr ?? ''}`
  const count = (word) =>
    Number(new RegExp(`(\\d+) ${word}`, 'i').exec(output.split('\n').slice(-4).join('\n'))?.[1] ?? 0)
  const broken = child.status !== 0
  const failed = broken ? Math.max(1, count('failed')) : 0
  const passed = count('passed') || (broken ? 0 : 1)
  const skips = [...output.matchAll(/^skipped:? +(.*)$/gim)].map((match) => `${name}: ${match[1]}`)
  total.passed += passed
  total.failed += failed
  total.skipped.push(...skips)
  if (broken) process.stdout.write(output)
  const end = child.signal
    ? `, ended by ${child.signal}`
    : broken
      ? `, status ${child.status ?? child.error?.message}`
      : ''
  console.log(
    `${broken ? 'FAIL' : 'PASS'} ${name} (${passed} passed, ${failed} failed, ${skips.length} skipped, ${seconds} s${end})`,
  )
}
