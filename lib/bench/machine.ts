import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import os from 'node:os'
import { addon } from '../native/call.js'
import type { Gpu, Machine } from './types.js'

/** What a result must say about the machine that it was measured on. */
export function describeMachine(): Machine {
  const { model, isa, tiers } = addon().cpuInfo()
  const clock = Number(/^cpu MHz\s*:\s*([\d.]+)/m.exec(read('/proc/cpuinfo'))?.[1])
  const frequency = '/sys/devices/system/cpu/cpu0/cpufreq'
  const governor = read(`${frequency}/scaling_governor`).trim()
  const kilohertz = Number(read(`${frequency}/cpuinfo_max_freq`))
  const boost = boostOf()
  const gpus = readGpus()
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
    ...(kilohertz > 0 ? { maxClockMhz: kilohertz / 1000 } : {}),
    ...(boost === undefined ? {} : { boost }),
    ...(governor === '' ? {} : { governor }),
    loadBefore: os.loadavg()[0] ?? 0,
    ...(gpus.length === 0 ? {} : { gpus }),
  }
}

/** Whether clocks may rise above the nominal one; undefined where the system does not say. */
function boostOf(): boolean | undefined {
  const noTurbo = read('/sys/devices/system/cpu/intel_pstate/no_turbo').trim()
  if (noTurbo !== '') return noTurbo === '0'
  const boost = read('/sys/devices/system/cpu/cpufreq/boost').trim()
  return boost === '' ? undefined : boost === '1'
}

const gpuColumns = 'name,driver_version,memory.total,clocks.sm,clocks.max.sm,power.limit'

function readGpus(): Gpu[] {
  try {
    const query = [`--query-gpu=${gpuColumns}`, '--format=csv,noheader,nounits']
    return parseGpus(
      execFileSync('nvidia-smi', query, {
        encoding: 'utf8',
        timeout: 10_000,
        stdio: ['ignore', 'pipe', 'ignore'],
      }),
    )
  } catch {
    // No GPU of theirs, or no driver: there is nothing to tell.
    return []
  }
}

/** Of nvidia-smi's lines: '[N/A]' becomes NaN. */
export function parseGpus(text: string): Gpu[] {
  return text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const [name = '', driver = '', ...numbers] = line.split(', ')
      const [memoryMb, clockMhz, maxClockMhz, powerLimitWatts] = numbers.map(Number) as [
        number,
        number,
        number,
        number,
      ]
      return { name, driver, memoryMb, clockMhz, maxClockMhz, powerLimitWatts }
    })
}

/** Empty where the system has no such file. */
function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
