interface Visitor {
  /** Set when it has come to the exit and others stand before it. */
  go?: (() => void) | undefined
}

/** Calls of one priority, in the order in which they came. */
interface Line {
  visitors: Set<Visitor>
  /** Somebody is letting them out. */
  opening: boolean
}

/** Lets calls of equal priority out in the order in which they came in. */
export class Turnstile {
  private readonly lines = new Map<number, Line>()

  /**
   * Takes a place in line. `exit` calls `go` when nobody is before it, at once if that is so now; whoever goes leaves.
   * `leave` goes, whenever it likes, and is idempotent.
   */
  enter(priority: number): { exit(go: () => void): void; leave(): void } {
    const visitor: Visitor = {}
    const line = this.lines.get(priority) ?? { visitors: new Set(), opening: false }
    this.lines.set(priority, line)
    line.visitors.add(visitor)
    return {
      exit: (go) => {
        visitor.go = go
        open(line)
      },
      leave: () => {
        line.visitors.delete(visitor)
        if (line.visitors.size === 0 && this.lines.get(priority) === line) this.lines.delete(priority)
        open(line)
      },
    }
  }
}

/** Lets out who stands first and has come to the exit, and those behind it. In a loop: a thousand may be waiting. */
function open(line: Line): void {
  if (line.opening) return
  line.opening = true
  try {
    for (let next = first(line); next?.go !== undefined; next = first(line)) {
      const { go } = next
      next.go = undefined
      go()
    }
  } finally {
    line.opening = false
  }
}

function first({ visitors }: Line): Visitor | undefined {
  return visitors.values().next().value
}
