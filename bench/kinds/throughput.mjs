// Milliseconds of one run, back to back, after warming up.
const warmUpMs = 700
const minimumRuns = 8

export async function measure({ run, seconds }) {
  const warm = performance.now() + warmUpMs
  do await run()
  while (performance.now() < warm)
  const times = []
  const cpuBefore = process.cpuUsage()
  const end = performance.now() + seconds * 1000
  while (performance.now() < end || times.length < minimumRuns) {
    const start = performance.now()
    await run()
    times.push(performance.now() - start)
  }
  const cpu = process.cpuUsage(cpuBefore)
  times.sort((a, b) => a - b)
  const at = (share) => times[Math.min(times.length - 1, Math.floor(share * times.length))]
  // The processor time of all threads, spinning included: steadier than the clock when other programs run.
  const cpuMs = (cpu.user + cpu.system) / 1000 / times.length
  return { runs: times.length, medianMs: at(0.5), bestMs: times[0], p90Ms: at(0.9), cpuMs }
}

/** The figure that the table and the ratio use; larger is better. */
export const figure = {
  unit: 'images/s',
  of: ({ medianMs }, { batch }) => (batch * 1000) / medianMs,
  better: 'higher',
}
