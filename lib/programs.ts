import type { Binding, CompileCall, Lane, Program } from '../binding.js'
import { offAbort, onAbort, type Signal, Stop } from './abort.js'
import { native } from './native/call.js'

/** A compiled plan with its lanes, and the [H, W, C] of its outputs. */
export interface Compiled {
  program: Program
  lanes: Lanes
  outputShapes: readonly (readonly [number, number, number])[]
}

/** The lanes of a program, up to `limit`, made when they are needed. */
export class Lanes {
  private readonly idle: Lane[] = []
  private readonly all: Promise<Lane>[] = []
  private next = 0

  constructor(
    private readonly program: Program,
    private readonly limit: number,
  ) {}

  /** Runs `body` with a lane of its own; once there are `limit`, one that may be busy, whose work lines up. */
  async use<T>(body: (lane: Lane) => Promise<T>): Promise<T> {
    const lane = this.idle.pop() ?? (await this.another())
    try {
      return await body(lane)
    } finally {
      if (!this.idle.includes(lane)) this.idle.push(lane)
    }
  }

  get count(): number {
    return this.all.length
  }

  /** Makes all of them. */
  async fill(): Promise<void> {
    while (this.all.length < this.limit) this.idle.push(await this.create())
  }

  /** Waits for what was submitted. */
  async dispose(): Promise<void> {
    const made = await Promise.allSettled(this.all)
    await Promise.all(made.map((lane) => (lane.status === 'fulfilled' ? lane.value.dispose() : undefined)))
  }

  private another(): Promise<Lane> {
    if (this.all.length < this.limit) return this.create()
    this.next = (this.next + 1) % this.all.length
    return this.all[this.next] as Promise<Lane>
  }

  private async create(): Promise<Lane> {
    const making = native(undefined, () => this.program.createLane())
    this.all.push(making)
    try {
      return await making
    } catch (error) {
      this.all.splice(this.all.indexOf(making), 1)
      throw error
    }
  }
}

/** Compiles a plan and makes its first lane; `signal` cancels. */
export async function compileProgram(
  binding: Binding,
  call: Omit<CompileCall, 'control'>,
  { outputShapes, maxLanes = 1 }: { outputShapes: Compiled['outputShapes']; maxLanes?: number },
  signal?: Signal,
): Promise<Compiled> {
  const program = await native(signal, (control) => binding.compile({ ...call, control }))
  const lanes = new Lanes(program, maxLanes)
  try {
    await lanes.use(async () => {})
    return { program, lanes, outputShapes }
  } catch (error) {
    await program.dispose()
    throw error
  }
}

/** Waits for what runs, then frees. */
export async function disposeCompiled({ lanes, program }: Compiled): Promise<void> {
  await lanes.dispose()
  await program.dispose()
}

/** What a program is known by. */
export interface ProgramKey {
  /** Programs that differ in nothing else but what follows are kept and dropped together: batches alternate between them. */
  family: string
  /** Images of a batch, at most. */
  bucket: number
  /** Of a batch. */
  threads: number
}

export interface ProgramMemory {
  programs: number
  weightBytes: number
  /** Of all lanes. */
  arenaBytes: number
}

interface Entry {
  /** Set once it is compiled. */
  made?: Compiled
  compiled: Promise<Compiled>
  users: number
  /** Users that would still wait for the compilation; none: it is cancelled. */
  interested: number
  cancel: Stop
  /** No longer in the cache: the last user disposes of it. */
  evicted: boolean
}

/** Programs by key; the least recently used family goes when there are more than `limit`, once nobody runs it. */
export class ProgramCache {
  /** By `sizeOf`; families in the order of use. */
  private readonly families = new Map<string, Map<string, Entry>>()
  /** The family that was used last. */
  private recent: string | undefined
  private readonly leaving = new Set<Promise<void>>()

  constructor(private readonly limit: number) {}

  /**
   * Runs `body` with the program of `key`, made by `compile` if it is not there. Users share a compilation: it is
   * cancelled when the signals of all have aborted.
   */
  async use<T>(
    key: ProgramKey,
    compile: (signal: Signal) => Promise<Compiled>,
    body: (compiled: Compiled) => Promise<T>,
    signal?: Signal,
  ): Promise<T> {
    const entry = this.entryOf(key, compile)
    ++entry.users
    try {
      return await body(entry.made ?? (await this.compiledOf(key, entry, signal)))
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
    return this.entries().length
  }

  /** Of what is compiled. Programs share packed weights, so the largest figure counts. */
  memory(): ProgramMemory {
    const made = this.entries().flatMap(({ made }) => (made === undefined ? [] : [made]))
    return {
      programs: made.length,
      weightBytes: Math.max(0, ...made.map(({ program }) => program.info.weightBytes)),
      arenaBytes: made.reduce((sum, { program, lanes }) => sum + program.info.arenaBytes * lanes.count, 0),
    }
  }

  private entries(): Entry[] {
    return [...this.families.values()].flatMap((family) => [...family.values()])
  }

  private entryOf(key: ProgramKey, compile: (signal: Signal) => Promise<Compiled>): Entry {
    const { family } = key
    const size = sizeOf(key)
    let buckets = this.families.get(family)
    if (buckets === undefined || family !== this.recent) {
      // Reinserted, so that a Map's order is the order of use.
      this.families.delete(family)
      buckets ??= new Map()
      this.families.set(family, buckets)
      this.recent = family
      this.evict(this.limit)
    }
    const known = buckets.get(size)
    if (known !== undefined) return known
    const made = newEntry(compile)
    buckets.set(size, made)
    return made
  }

  private async compiledOf(key: ProgramKey, entry: Entry, signal?: Signal): Promise<Compiled> {
    const { family } = key
    const size = sizeOf(key)
    // One that failed or was aborted is tried again by the next call.
    const forget = () => {
      const buckets = this.families.get(family)
      if (buckets?.get(size) === entry) buckets.delete(size)
      if (buckets?.size === 0) this.families.delete(family)
      entry.evicted = true
    }
    ++entry.interested
    const leave = () => {
      if (--entry.interested > 0) return
      forget()
      entry.cancel.abort(signal?.reason)
    }
    onAbort(signal, leave)
    try {
      entry.made = await entry.compiled
      return entry.made
    } catch (error) {
      forget()
      throw error
    } finally {
      offAbort(signal, leave)
    }
  }

  /** Leaves the `limit` families that were used last. */
  private evict(limit: number): void {
    for (const [family, buckets] of this.families) {
      if (this.families.size <= limit) return
      this.families.delete(family)
      for (const entry of buckets.values()) {
        entry.evicted = true
        if (entry.users === 0) this.remove(entry)
      }
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

/** Its place in its family. */
function sizeOf({ bucket, threads }: ProgramKey): string {
  return `${bucket} images, ${threads} threads`
}

function newEntry(compile: (signal: Signal) => Promise<Compiled>): Entry {
  const cancel = new Stop()
  return { compiled: compile(cancel), users: 0, interested: 0, cancel, evicted: false }
}
