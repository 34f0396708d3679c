/** Calls of one priority, in the order in which they came: a list, since who is in the middle may leave. */
interface Line {
  priority: number
  first: Visitor | undefined
  last: Visitor | undefined
  /** Somebody is letting them out. */
  opening: boolean
}

/** Somebody in line. */
export class Visitor {
  before: Visitor | undefined
  behind: Visitor | undefined
  /** Set when it has come to the exit and others stand before it. */
  go: (() => void) | undefined
  private gone = false

  constructor(
    private readonly turnstile: Turnstile,
    private readonly line: Line,
  ) {}

  /** Calls `go` when nobody is before it, at once if that is so now; whoever goes leaves. Nothing for one that has left. */
  exit(go: () => void): void {
    // Its line may have ended, and another one have begun in its place.
    if (this.gone) return
    this.go = go
    this.turnstile.open(this.line)
  }

  /** Goes, whenever it likes; idempotent. */
  leave(): void {
    if (this.gone) return
    this.gone = true
    const { line, before, behind } = this
    if (before === undefined) line.first = behind
    else before.behind = behind
    if (behind === undefined) line.last = before
    else behind.before = before
    // Or one that is kept would keep all that came after it.
    this.before = undefined
    this.behind = undefined
    this.turnstile.open(line)
  }
}

/** Lets calls of equal priority out in the order in which they came in. */
export class Turnstile {
  private readonly lines = new Map<number, Line>()

  /** Takes a place in line. */
  enter(priority: number): Visitor {
    const line = this.lineOf(priority)
    const visitor = new Visitor(this, line)
    visitor.before = line.last
    if (line.last === undefined) line.first = visitor
    else line.last.behind = visitor
    line.last = visitor
    return visitor
  }

  /** Lets out who stands first and has come to the exit, and those behind it. In a loop: a thousand may be waiting. */
  open(line: Line): void {
    if (line.opening) return
    line.opening = true
    try {
      for (let next = line.first; next?.go !== undefined; next = line.first) {
        const { go } = next
        next.go = undefined
        go()
      }
    } finally {
      line.opening = false
    }
    if (line.first === undefined) this.lines.delete(line.priority)
  }

  private lineOf(priority: number): Line {
    const known = this.lines.get(priority)
    if (known !== undefined) return known
    const made = { priority, first: undefined, last: undefined, opening: false }
    this.lines.set(priority, made)
    return made
  }
}
