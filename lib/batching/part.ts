import type { InputView, OutputView } from '../../binding.js'
import type { Stop } from '../abort.js'
import type { StoredPicture, StoredPiece } from '../native/storage.js'
import type { Shape } from '../outputs.js'

/** One list of pieces per output. */
export type OutputPieces = (OutputView | StoredPiece)[][]

/** Consecutive images of a part as a batch takes them: memory to read, and memory to fill once shapes are known. */
export interface Slice {
  pieces: (InputView | StoredPiece | StoredPicture)[]
  /** One list of views per output. A failure is that of the part's call alone. */
  outputs(shapes: readonly Shape[]): OutputPieces | Promise<OutputPieces>
}

/** Images of one call that may run together with those of others; a batch takes all of them or some. */
export interface Part {
  images: number
  /** How long they waited elsewhere before they came into line, in milliseconds. */
  waitedMs?: number
  /** Called once for every image, in order. */
  slice(from: number, count: number): Slice
}

/** A slice in a batch. */
export interface Share extends Slice {
  images: number
  /** Ends the share's call; the batch runs without it. */
  fail(error: unknown): void
}

/** What a batch is made of: at most `maxBatch` images of one kind. */
export interface Batch<Kind> {
  kind: Kind
  shares: readonly Share[]
  images: number
  /** That run it. */
  threads: number
  /** Aborts when nobody waits for any of it. */
  signal: Stop
}

/** Where something stands in line: higher priority first, then the order of the calls. */
export interface Place {
  priority: number
  sequence: number
}

/** Whether `a` goes before `b`. */
export function precedes(a: Place, b: Place): boolean {
  return a.priority > b.priority || (a.priority === b.priority && a.sequence < b.sequence)
}

/** Inserts behind all that do not stand behind it. From the end, where nearly every one belongs. */
export function insert<T extends { place: Place }>(line: T[], entry: T): void {
  let position = line.length
  while (position > 0 && precedes(entry.place, (line[position - 1] as T).place)) --position
  if (position === line.length) line.push(entry)
  else line.splice(position, 0, entry)
}
