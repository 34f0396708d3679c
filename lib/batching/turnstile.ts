interface Visitor {
  /** Set when it has come to the exit and others stand before it. */
  go?: () => void
}

/** Lets calls of equal priority out in the order in which they came in. */
export class Turnstile {
  private readonly lines = new Map<number, Set<Visitor>>()

  /** Takes a place in line. `exit` waits until nobody is before it; `leave` goes, whenever it likes, and is idempotent. */
  enter(priority: number): { exit(): Promise<void>; leave(): void } {
    const visitor: Visitor = {}
    const line = this.lines.get(priority) ?? new Set()
    this.lines.set(priority, line.add(visitor))
    return {
      exit: async () => {
        if (first(line) !== visitor) await new Promise<void>((resolve) => (visitor.go = resolve))
      },
      leave: () => {
        line.delete(visitor)
        if (line.size === 0 && this.lines.get(priority) === line) this.lines.delete(priority)
        first(line)?.go?.()
      },
    }
  }
}

function first(line: Set<Visitor>): Visitor | undefined {
  return line.values().next().value
}
