/**
 * What `look` gives once it gives `expected`, or when the time is up: for what another thread frees a moment later. The
 * time is no measure of anything: a machine may be busy.
 */
export async function eventually<T>(look: () => T, expected: T, milliseconds = 60_000): Promise<T> {
  const wanted = JSON.stringify(expected)
  const end = performance.now() + milliseconds
  let seen = look()
  while (JSON.stringify(seen) !== wanted && performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 5))
    seen = look()
  }
  return seen
}
