import { readFileSync } from 'node:fs'
import os from 'node:os'
import { addon } from '../native/call.js'
import type { Machine } from './types.js'

/** What a result must say about the machine that it was measured on. */
export function describeMachine(): Machine {
  const { model, isa, tiers } = addon().cpuInfo()
  const clock = Number(/^cpu MHz\s*:\s*([\d.]+)/m.exec(read('/proc/cpuinfo'))?.[1])
  const governor = read('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor').trim()
  return {
    cpu: model,
    cpus: os.cpus().length,
    available: os.availableParallelism(),
    memoryGb: Math.round(os.totalmem() / 2 ** 30),
    platform: `${process.platform}-${process.arch}`,
    kernel: os.release(),
    node: process.version,
    isa: isa ?? `none: ${tiers.map((tier) => `${tier.isa} ${tier.reason}`).join('; ')}`,
    ...(Number.isFinite(clock) ? { clockMhz: clock } : {}),
    ...(governor === '' ? {} : { governor }),
    loadBefore: os.loadavg()[0] ?? 0,
  }
}

/** Empty where the system has no such file. */
function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
