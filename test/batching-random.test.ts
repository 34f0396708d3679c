// Random calls that come, fail and leave at random, and what must hold whatever happens.
import { laneShape } from '../lib/batching/lanes.js'
import type { Batch } from '../lib/batching/part.js'
import { Scheduler } from '../lib/batching/scheduler.js'
import { mulberry32 } from '../lib/bench/statistics.js'

interface Kind {
  key: string
}

async function play(seed: number): Promise<void> {
  const random = mulberry32(seed)
  const below = (limit: number) => Math.floor(random() * limit)
  const pause = (turns: number) =>
    turns === 0 ? Promise.resolve() : new Promise((resolve) => setTimeout(resolve, turns - 1))
  const options = {
    owner: 'The model',
    shape: laneShape(below(2) === 0 ? 'auto' : 1 + below(3), { device: 'cpu', threads: 1 + below(9) }),
    maxBatch: 1 + below(8),
    maxDelayMs: below(3) === 0 ? below(4) : 0,
    maxQueue: 10 + below(40),
  }
  const taken = new Map<string, number>()
  let running = 0
  let threadsTaken = 0
  const run = async ({ images, threads, shares, kind }: Batch<Kind>) => {
    running += 1
    expect(running).toBeLessThanOrEqual(options.shape.lanes)
    threadsTaken += threads
    if (options.shape.shares !== undefined) {
      expect(options.shape.shares).toContain(threads)
      expect(threadsTaken).toBeLessThanOrEqual(options.shape.threads)
    } else expect(threads).toBe(options.shape.threads)
    expect(images).toBeGreaterThan(0)
    expect(images).toBeLessThanOrEqual(options.maxBatch)
    expect(shares.reduce((sum, share) => sum + share.images, 0)).toBe(images)
    for (const share of shares) {
      expect(share.pieces).toHaveLength(share.images)
      for (const piece of share.pieces as unknown as string[]) {
        expect(piece.startsWith(`${kind.key} `)).toBe(true)
        taken.set(piece, (taken.get(piece) ?? 0) + 1)
      }
    }
    await pause(below(4))
    if (below(12) === 0) shares[below(shares.length)]?.fail(new Error('share'))
    running -= 1
    threadsTaken -= threads
    if (below(15) === 0) throw new Error('batch')
  }
  const scheduler = new Scheduler<Kind>(options, run, undefined, () => below(3) === 0)

  let waitingBound = 0
  const finished: { sequence: number; priority: number }[] = []
  const outcomes = { fulfilled: 0, aborted: 0, failed: 0, refused: 0 }
  const calls = Array.from({ length: 150 }, async (_, sequence) => {
    await pause(below(30))
    const images = 1 + below(12)
    const priority = below(3) - 1
    const key = `k${below(3)}`
    const abort = new AbortController()
    if (below(4) === 0) setTimeout(() => abort.abort('gone'), below(8))
    const begun = entered++
    const fits = scheduler.queueDepth + images <= options.maxQueue
    try {
      await scheduler.call(
        { method: 'call', images, priority, signal: abort.signal, inOrder: true },
        async ({ submit }) => {
          await pause(below(3))
          if (below(20) === 0) throw new Error('decoding')
          const split = below(images)
          const part = (from: number, count: number) => ({
            images: count,
            slice: (first: number, length: number) => ({
              pieces: Array.from({ length }, (_, i) => `${key} ${sequence}:${from + first + i}`) as never[],
              outputs: () => [],
            }),
          })
          const parts = split === 0 ? [part(0, images)] : [part(0, split), part(split, images - split)]
          await Promise.all(parts.map((one) => submit({ key }, one)))
        },
      )
      finished.push({ sequence: begun, priority })
      outcomes.fulfilled += 1
      for (let i = 0; i < images; ++i) expect(taken.get(`${key} ${sequence}:${i}`)).toBe(1)
      expect(fits).toBe(true)
    } catch (error) {
      if ((error as { code?: string }).code === 'ERR_RESNET_QUEUE_FULL') {
        outcomes.refused += 1
        expect(fits).toBe(false)
      } else if (error === 'gone') {
        outcomes.aborted += 1
      } else {
        if (!(error instanceof Error) || !/^(share|batch|decoding)$/.test(error.message)) throw error
        outcomes.failed += 1
      }
    }
    waitingBound = Math.max(waitingBound, scheduler.queueDepth)
  })
  let entered = 0
  await Promise.all(calls)
  for (const count of taken.values()) expect(count).toBe(1)
  expect(waitingBound).toBeLessThanOrEqual(options.maxQueue)
  expect(scheduler.queueDepth).toBe(0)
  for (const priority of [-1, 0, 1]) {
    const order = finished.filter((call) => call.priority === priority).map(({ sequence }) => sequence)
    expect(order).toEqual([...order].sort((a, b) => a - b))
  }
  expect(Object.values(outcomes).reduce((sum, count) => sum + count, 0)).toBe(calls.length)
  expect(outcomes.fulfilled).toBeGreaterThan(0)
  await scheduler.close()
  expect(scheduler.busyLanes).toBe(0)
}

test.each(Array.from({ length: 40 }, (_, i) => i + 1))('seed %d', play)
