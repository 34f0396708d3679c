const width = 24
const redrawMs = 100
/** Work shorter than this shows no bar. */
const quietMs = 500

/** A bar on standard error, drawn only on a terminal and only when the work takes a while. */
export class Progress {
  readonly #total: number
  readonly #started = performance.now()
  readonly #shown: boolean
  #done = 0
  #drawnAt = 0
  #visible = false

  constructor(total: number) {
    this.#total = total
    this.#shown = process.stderr.isTTY === true && total > 1
  }

  advance(): void {
    this.#done += 1
    const now = performance.now()
    if (!this.#shown || now - this.#started < quietMs || now - this.#drawnAt < redrawMs) return
    this.#drawnAt = now
    this.#visible = true
    const share = this.#done / this.#total
    const bar = '█'.repeat(Math.round(share * width)).padEnd(width, '░')
    const rate = (this.#done / (now - this.#started)) * 1000
    const left = duration((this.#total - this.#done) / rate)
    process.stderr.write(
      `\r\x1b[2K${bar} ${this.#done}/${this.#total}  ${rate.toFixed(1)} images/s  ${left} left`,
    )
  }

  /** Takes the bar away, before anything else is written to the terminal. */
  clear(): void {
    if (this.#visible) process.stderr.write('\r\x1b[2K')
    this.#visible = false
  }
}

function duration(seconds: number): string {
  const whole = Math.round(seconds)
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`
}
