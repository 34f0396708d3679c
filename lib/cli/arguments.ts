/** Parsers of option values; what they refuse is commander's error. */
import { InvalidArgumentError } from 'commander'

export function atLeastOne(text: string): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= 1) return value
  throw new InvalidArgumentError('Expected a whole number of at least 1.')
}

export function positive(text: string): number {
  const value = Number(text)
  if (value > 0 && Number.isFinite(value)) return value
  throw new InvalidArgumentError('Expected a number above 0.')
}

/** '1,8' → [1, 8]; each once. */
export function wholeNumbers(smallest: number): (text: string) => number[] {
  const isFine = (value: number) => Number.isSafeInteger(value) && value >= smallest
  return numbers(isFine, `Expected whole numbers of at least ${smallest}, as in 1,8.`)
}

/** The same of any numbers between these. */
export function numbersBetween(smallest: number, largest: number): (text: string) => number[] {
  const isFine = (value: number) => value >= smallest && value <= largest
  return numbers(isFine, `Expected numbers from ${smallest} to ${largest}, as in 0.5,0.9.`)
}

function numbers(isFine: (value: number) => boolean, expected: string): (text: string) => number[] {
  return (text) => {
    // Number(' ') is 0.
    const values = text.split(',').map((word) => (word.trim() === '' ? Number.NaN : Number(word)))
    if (values.every(isFine)) return [...new Set(values)]
    throw new InvalidArgumentError(expected)
  }
}

/** 'a,b' → ['a', 'b']; each once. */
export function words(text: string): string[] {
  const list = wordsOf(text)
  if (list.length > 0) return list
  throw new InvalidArgumentError('Expected names, as in resnet18,resnet50.')
}

/** Of a list, names among these. */
export function among<T extends string>(names: readonly T[]): (text: string) => T[] {
  return (text) => {
    const list = wordsOf(text)
    const known = (word: string) => (names as readonly string[]).includes(word)
    if (list.length > 0 && list.every(known)) return list as T[]
    throw new InvalidArgumentError(`Expected names among ${names.join(', ')}.`)
  }
}

function wordsOf(text: string): string[] {
  return [...new Set(text.split(',').filter((word) => word !== ''))]
}

export function matching(pattern: RegExp, expected: string): (text: string) => string {
  return (text) => {
    if (pattern.test(text)) return text
    throw new InvalidArgumentError(`Expected ${expected}.`)
  }
}

/** 'cuda:1' */
export const device = matching(/^(auto|cpu|cuda(:\d{1,3})?)$/, "'auto', 'cpu', 'cuda' or 'cuda:1'")
