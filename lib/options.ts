import { invalidArgument } from './errors.js'

/** What one option may be: `expected` completes the sentence 'expected NAME to be …'. */
export interface Rule<T> {
  expected: string
  accepts(value: unknown): value is T & {}
  /** Taken when the option is absent or undefined. */
  fallback: T
}
export type Table = Record<string, Rule<unknown>>
export type Values<T extends Table> = { [K in keyof T]: T[K] extends Rule<infer V> ? V : never }

/** A rule whose option may be left out. */
export function optional<T>(rule: Rule<T | undefined>): Rule<T | undefined> {
  return { ...rule, fallback: undefined }
}

/** A rule with a default. */
export function defaulting<T>(rule: Rule<T | undefined>, fallback: T): Rule<T> {
  return { ...rule, fallback } as Rule<T>
}

function rule<T>(expected: string, accepts: (value: unknown) => boolean): Rule<T | undefined> {
  return { expected, accepts: accepts as Rule<T | undefined>['accepts'], fallback: undefined }
}

export function integer(min: number, max: number, meaning = ''): Rule<number | undefined> {
  const accepts = (value: unknown) => Number.isInteger(value) && Number(value) >= min && Number(value) <= max
  const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`
  return rule(`an integer ${range}${meaning}`, accepts)
}

export function number(min: number, max: number): Rule<number | undefined> {
  const accepts = (value: unknown) => typeof value === 'number' && value >= min && value <= max
  return rule(`a number from ${min} to ${max}`, accepts)
}

export function oneOf<const T extends string | number>(...values: readonly T[]): Rule<T | undefined> {
  const words = values.map((value) => (typeof value === 'string' ? `'${value}'` : String(value)))
  const last = words.at(-1)
  const expected = words.length > 1 ? `${words.slice(0, -1).join(', ')} or ${last}` : String(last)
  return rule(expected, (value) => values.includes(value as T))
}

export function matching<T extends string>(expected: string, pattern: RegExp): Rule<T | undefined> {
  return rule(expected, (value) => typeof value === 'string' && pattern.test(value))
}

export const boolean: Rule<boolean | undefined> = rule('true or false', (value) => typeof value === 'boolean')

export const signal: Rule<AbortSignal | undefined> = rule(
  'an AbortSignal',
  (value) => value instanceof AbortSignal,
)

export function callback<T extends (...args: never[]) => void>(expected: string): Rule<T | undefined> {
  return rule(expected, (value) => typeof value === 'function')
}

/** Any other shape of value, given the end of the sentence and the test. */
export function value<T>(expected: string, accepts: (value: unknown) => boolean): Rule<T | undefined> {
  return rule(expected, accepts)
}

/** [a, b] or one integer for both axes. */
export function pair(min: number, max: number): Rule<number | readonly [number, number] | undefined> {
  const one = integer(min, max)
  const accepts = (value: unknown) =>
    one.accepts(value) || (Array.isArray(value) && value.length === 2 && value.every(one.accepts))
  return rule(`${one.expected}, or [height, width] of those`, accepts)
}

/** A list of `rule`'s values with `min` to `max` entries. */
export function list<T>(item: Rule<T | undefined>, min: number, max: number): Rule<readonly T[] | undefined> {
  const accepts = (value: unknown) =>
    Array.isArray(value) && value.length >= min && value.length <= max && value.every(item.accepts)
  return rule(`a list of ${min} to ${max} entries, each ${item.expected}`, accepts)
}

/**
 * Checks `options` against `table` and fills in defaults.
 * @param call What the sentence begins with: 'ResNet.load'.
 * @throws ERR_RESNET_INVALID_ARGUMENT naming the option, what was expected and what was received; also for a name that
 * the table does not have.
 */
export function readOptions<T extends Table>(call: string, table: T, options: unknown): Values<T> {
  if (options !== undefined && (typeof options !== 'object' || options === null || Array.isArray(options))) {
    throw invalidArgument(`${call}: expected options to be an object, received ${describe(options)}`)
  }
  const given = (options ?? {}) as Record<string, unknown>
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(table, name)) throw unknownOption(call, name, Object.keys(table))
  }
  const values = { ...defaultsOf(table) }
  if (options === undefined) return values
  for (const name of Object.keys(values)) {
    const received = given[name]
    if (received !== undefined) {
      ;(values as Record<string, unknown>)[name] = check(call, name, table[name] as Rule<unknown>, received)
    }
  }
  return values
}

/** Made once for each table: calls read their options every time. */
const knownDefaults = new WeakMap<Table, Values<Table>>()

function defaultsOf<T extends Table>(table: T): Values<T> {
  const known = knownDefaults.get(table)
  if (known !== undefined) return known as Values<T>
  const made = Object.fromEntries(Object.entries(table).map(([name, { fallback }]) => [name, fallback]))
  knownDefaults.set(table, made)
  return made as Values<T>
}

/** One value against one rule, with the same sentence. */
export function check<T>(call: string, name: string, rule: Rule<T>, received: unknown): T & {} {
  if (rule.accepts(received)) return received
  throw invalidArgument(`${call}: expected ${name} to be ${rule.expected}, received ${describe(received)}`)
}

function unknownOption(call: string, name: string, known: string[]): Error {
  const nearest = closest(name, known)
  const hint = nearest === undefined ? `it takes ${known.join(', ')}` : `did you mean '${nearest}'?`
  return invalidArgument(`${call}: there is no option '${name}'; ${hint}`)
}

/** The known name that a mistyped one stands for, if one is near enough. */
export function closest(name: string, known: Iterable<string>): string | undefined {
  let best: string | undefined
  let bestDistance = Math.max(2, Math.floor(name.length / 3)) + 1
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance]
  }
  return best
}

/** Levenshtein's distance; both sides cut to 64 characters, since names are short and input may not be. */
function editDistance(left: string, right: string): number {
  const a = left.slice(0, 64)
  const b = right.slice(0, 64)
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; ++i) {
    const next = [i]
    for (let j = 1; j <= b.length; ++j) {
      const replaced = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, (row[j] as number) + 1, (next[j - 1] as number) + 1))
    }
    row = next
  }
  return row.at(-1) as number
}

/** A value as an error message shows it: short, with its type. */
export function describe(received: unknown): string {
  if (received === null || received === undefined) return String(received)
  if (typeof received === 'string')
    return `'${received.length > 80 ? `${received.slice(0, 80)}…` : received}'`
  if (typeof received === 'number' || typeof received === 'boolean') return String(received)
  if (typeof received === 'bigint') return `${received}n`
  if (typeof received === 'function') return 'a function'
  if (typeof received === 'symbol') return 'a symbol'
  if (ArrayBuffer.isView(received)) {
    const { length } = received as unknown as { length?: number }
    return `a ${received.constructor.name}${length === undefined ? '' : ` of ${length}`}`
  }
  if (Array.isArray(received)) {
    const items = received.slice(0, 8).map((item) => (typeof item === 'object' ? '…' : describe(item)))
    return `[${items.join(', ')}${received.length > 8 ? ', …' : ''}]`
  }
  return `an object (${received.constructor?.name ?? 'Object'})`
}
