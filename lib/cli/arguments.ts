/** Parsers of option values; what they refuse is commander's error. */
import { InvalidArgumentError } from 'commander'

export function atLeastOne(text: string): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= 1) return value
  throw new InvalidArgumentError('Expected a whole number of at least 1.')
}

export function upTo(most: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (Number.isInteger(value) && value >= 1 && value <= most) return value
    throw new InvalidArgumentError(`Expected a whole number from 1 to ${most}.`)
  }
}

export function positive(text: string): number {
  const value = Number(text)
  if (value > 0 && Number.isFinite(value)) return value
  throw new InvalidArgumentError('Expected a number above 0.')
}

/** '1,8' → [1, 8]. */
export function numbers(smallest: number, whole: boolean): (text: string) => number[] {
  return (text) => {
    const values = text.split(',').map(Number)
    if (values.every((value) => value >= smallest && (!whole || Number.isInteger(value)))) return values
    throw new InvalidArgumentError(
      `Expected ${whole ? 'whole ' : ''}numbers of at least ${smallest}, as in 1,8.`,
    )
  }
}

export function words(text: string): string[] {
  return text.split(',').filter((word) => word !== '')
}

/** Of a list, names among these. */
export function among<T extends string>(names: readonly T[]): (text: string) => T[] {
  return (text) => {
    const list = words(text)
    if (list.every((word) => (names as readonly string[]).includes(word))) return list as T[]
    throw new InvalidArgumentError(`Expected names among ${names.join(', ')}.`)
  }
}

export function matching(pattern: RegExp, expected: string): (text: string) => string {
  return (text) => {
    if (pattern.test(text)) return text
    throw new InvalidArgumentError(`Expected ${expected}.`)
  }
}

/** A device by name. */
export const device = matching(/^(auto|cpu|cuda(:\d{1,3})?)$/, "'auto', 'cpu', 'cuda' or 'cuda:1'")
