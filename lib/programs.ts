import type { Binding, CompileCall, Lane, Program } from '../binding.js'
import { native } from './native/call.js'

/** A compiled plan with its one lane, and the [H, W, C] of its outputs. */
export interface Compiled {
  program: Program
  lane: Lane
  outputShapes: readonly (readonly [number, number, number])[]
}

/** Compiles a plan and makes its lane; `signal` cancels. */
export async function compileProgram(
  binding: Binding,
  call: Omit<CompileCall, 'control'>,
  outputShapes: Compiled['outputShapes'],
  signal?: AbortSignal,
): Promise<Compiled> {
  const program = await native(signal, (cancel) => binding.compile({ ...call, ...cancel }))
  try {
    return { program, lane: await native(undefined, () => program.createLane()), outputShapes }
  } catch (error) {
    program.dispose()
    throw error
  }
}

/** Waits for what runs, then frees. */
export async function disposeCompiled({ lane, program }: Compiled): Promise<void> {
  await lane.dispose()
  program.dispose()
}

interface Entry {
  compiled: Promise<Compiled>
  users: number
  /** No longer in the cache: the last user disposes of it. */
  evicted: boolean
}

/** Programs by key; the least recently used goes when there are more than `limit`, once nobody runs it. */
export class ProgramCache {
  private readonly entries = new Map<string, Entry>()
  private readonly leaving = new Set<Promise<void>>()

  constructor(private readonly limit: number) {}

  /** Runs `body` with the program of `key`, made by `compile` if it is not there. */
  async use<T>(
    key: string,
    compile: () => Promise<Compiled>,
    body: (compiled: Compiled) => Promise<T>,
  ): Promise<T> {
    const entry = this.entries.get(key) ?? { compiled: compile(), users: 0, evicted: false }
    // Reinserted, so that a Map's order is the order of use.
    this.entries.delete(key)
    this.entries.set(key, entry)
    ++entry.users
    this.evict(this.limit)
    try {
      return await body(await this.compiledOf(key, entry))
    } finally {
      --entry.users
      if (entry.evicted && entry.users === 0) this.remove(entry)
    }
  }

  /** Disposes of all; those in use when they are used no more. */
  async dispose(): Promise<void> {
    this.evict(0)
    while (this.leaving.size > 0) await Promise.all(this.leaving)
  }

  get size(): number {
    return this.entries.size
  }

  private async compiledOf(key: string, entry: Entry): Promise<Compiled> {
    try {
      return await entry.compiled
    } catch (error) {
      // One that failed or was aborted is tried again by the next call.
      if (this.entries.get(key) === entry) this.entries.delete(key)
      throw error
    }
  }

  private evict(limit: number): void {
    for (const [key, entry] of this.entries) {
      if (this.entries.size <= limit) return
      this.entries.delete(key)
      entry.evicted = true
      if (entry.users === 0) this.remove(entry)
    }
  }

  private remove(entry: Entry): void {
    const removal = entry.compiled
      .then(disposeCompiled)
      .catch(() => {
        // A program that was never made has nothing to dispose of; its users have seen the error.
      })
      .finally(() => this.leaving.delete(removal))
    this.leaving.add(removal)
  }
}
