/**
 * What a run has found so far: a file of JSON lines that only grows, written as things happen, so that whatever kills the
 * run leaves everything before it.
 */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import type { Mode } from './steps.js'

/** Whatever a step reports; `kind` says which field of the results it belongs to. */
export interface Found {
  kind: string
  [field: string]: unknown
}
/** 'skipped': the machine lacks what it needs; 'not run': the budget had too little left for it. */
export type StepStatus = 'done' | 'failed' | 'timeout' | 'skipped' | 'not run'
export type Line =
  | { line: 'run'; date: string; mode: Mode; version: string }
  | { line: 'begin'; step: string }
  | { line: 'found'; step: string; found: Found }
  | { line: 'end'; step: string; status: StepStatus; seconds: number; reason?: string }

export function appendLine(file: string, line: Line): void {
  appendFileSync(file, `${JSON.stringify(line)}\n`)
}

/** The lines of a file, none where it is not there. The last one may have been cut by a kill: it is left out. */
export function readLines(file: string): Line[] {
  if (!existsSync(file)) return []
  const texts = readFileSync(file, 'utf8').split('\n')
  return texts.flatMap((text, i) => {
    if (text === '') return []
    try {
      return [JSON.parse(text) as Line]
    } catch (cause) {
      if (i >= texts.length - 1) return []
      throw new Error(`${file}: line ${i + 1} is not JSON; it is no file of gpu-check`, { cause })
    }
  })
}

/** Drops a line that a kill has cut, so that the next one begins a line of its own. */
export function mendFile(file: string): void {
  if (!existsSync(file)) return
  const text = readFileSync(file, 'utf8')
  const whole = text.slice(0, text.lastIndexOf('\n') + 1)
  if (whole.length < text.length) writeFileSync(file, whole)
}

export interface StepOutcome {
  step: string
  status: StepStatus | 'killed'
  seconds: number
  reason?: string
  found: Found[]
}

/** The last attempt of every step, in order of first mention; one without an end was killed with the whole run. */
export function outcomes(lines: readonly Line[]): StepOutcome[] {
  const steps = new Map<string, StepOutcome>()
  for (const line of lines) {
    if (line.line === 'run') continue
    if (line.line === 'begin') {
      steps.set(line.step, { step: line.step, status: 'killed', seconds: 0, found: [] })
      continue
    }
    const outcome = steps.get(line.step) ?? { step: line.step, status: 'killed', seconds: 0, found: [] }
    steps.set(line.step, outcome)
    if (line.line === 'found') {
      outcome.found.push(line.found)
    } else {
      const { status, seconds, reason } = line
      Object.assign(outcome, { status, seconds, ...(reason === undefined ? {} : { reason }) })
    }
  }
  return [...steps.values()]
}

/** Steps that need not run again. */
export function completed(lines: readonly Line[]): Set<string> {
  return new Set(
    outcomes(lines)
      .filter(({ status }) => status === 'done')
      .map(({ step }) => step),
  )
}
