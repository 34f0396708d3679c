/** What scripts/gpu-check does, as data: phases of steps, each step a child process with a share of the whole run's time. */

export type Mode = 'full' | 'quick' | 'dry'

export const phases = {
  card: 'the card and its ceilings',
  accuracy: 'our kernels, operations and networks against PyTorch',
  speed: 'speed beside PyTorch, layers against the roofline, memory',
  reliability: 'compute-sanitizer, leaks, a soak, memory that runs out',
  compile: 'speed beside torch.compile',
} as const
export type Phase = keyof typeof phases

export interface Step {
  /** 'speed.resnet50-float16': phase and name. */
  id: string
  phase: Phase
  /** Of bench/gpu; a native program lies where the carried or built binaries are. */
  program: { kind: 'node' | 'python' | 'native'; file: string; args: string[] }
  /** Seconds that are kept for it (budget.ts); of a spare step, seconds that must be left over for it to begin. */
  share: number
  /** Seconds after which the child is killed, however many are left; what it has recorded stays. */
  most: number
  /** Nothing is kept for it: it runs on what the others have left. */
  spare: boolean
  /** Has no meaning without a device: a rehearsal lists it as skipped. */
  deviceOnly: boolean
  /** A step whose files it reads: it runs before it in the same run. */
  needs?: string
}

/** Share and most, in seconds; undefined: not in this mode, in a rehearsal skipped by name. */
type Limits = readonly [share: number, most: number] | undefined

interface Row {
  id: string
  file: string
  args?: string[]
  full: Limits
  quick?: Limits
  dry: Limits
  needs?: string
  spare?: boolean
}

const speedOf = (network: string, dtype: string, full: Limits, more: Partial<Row> = {}): Row => ({
  id: `speed.${network}-${dtype}`,
  file: 'speed.mjs',
  args: ['--network', network, '--dtype', dtype],
  full,
  dry: [20, 300],
  ...more,
})
const compileOf = (batch: number): Row => ({
  id: `compile.resnet50-${batch}`,
  file: 'compile.mjs',
  args: ['--batch', String(batch)],
  full: [75, 180],
  dry: undefined,
  spare: true,
})

/** In the order in which they run: what matters most comes first, since the budget may end the run. */
const rows: Row[] = [
  { id: 'card.describe', file: 'card.py', full: [20, 25], quick: [14, 15], dry: [3, 60] },
  { id: 'card.probe', file: 'resnet_gpu_probe', full: [25, 30], quick: [12, 15], dry: [3, 60] },
  { id: 'card.matrix', file: 'matrix.py', full: [20, 30], quick: [12, 15], dry: [3, 60] },
  { id: 'accuracy.kernels', file: 'device_kernels_test', full: [20, 40], dry: [20, 120] },
  { id: 'accuracy.reference', file: 'reference.py', full: [40, 60], quick: [16, 25], dry: [20, 300] },
  {
    id: 'accuracy.networks',
    file: 'networks.mjs',
    full: [45, 90],
    quick: [16, 25],
    dry: [20, 300],
    needs: 'accuracy.reference',
  },
  {
    id: 'accuracy.operations',
    file: 'operations.mjs',
    full: [30, 60],
    dry: [20, 180],
    needs: 'accuracy.reference',
  },
  speedOf('resnet50', 'float16', [95, 130], { quick: [40, 60] }),
  { id: 'speed.layers', file: 'layers.mjs', full: [20, 40], dry: [20, 120] },
  { id: 'speed.serving', file: 'serving.mjs', full: [30, 50], dry: [20, 120] },
  { id: 'speed.start', file: 'start.mjs', full: [25, 40], dry: [20, 120] },
  { id: 'speed.memory', file: 'memory.mjs', full: [30, 50], dry: [20, 120] },
  speedOf('resnet18', 'float16', [20, 45]),
  speedOf('resnext50_32x4d', 'float16', [25, 60]),
  { id: 'reliability.soak', file: 'soak.mjs', full: [42, 55], dry: [20, 60] },
  { id: 'reliability.cycles', file: 'cycles.mjs', full: [12, 25], dry: [20, 120] },
  { id: 'reliability.outOfMemory', file: 'out-of-memory.mjs', full: [15, 30], dry: [20, 120] },
  { id: 'reliability.sanitizer', file: 'sanitizer.mjs', full: [20, 115], dry: undefined },
  // From here on what the others must have left time for, and a second run may have to finish.
  compileOf(256),
  speedOf('resnet152', 'float16', [30, 60], { spare: true }),
  speedOf('resnet50', 'bfloat16', [25, 45], { spare: true }),
  speedOf('resnet50', 'tf32', [25, 45], { spare: true }),
  compileOf(1),
  compileOf(32),
]

const kindOf = (file: string): Step['program']['kind'] =>
  file.endsWith('.py') ? 'python' : file.endsWith('.mjs') ? 'node' : 'native'

/** All steps of a mode, in order. */
export function stepsOf(mode: Mode): Step[] {
  return rows.flatMap(({ id, file, args = [], needs, spare = false, [mode]: limits }) => {
    const deviceOnly = mode === 'dry' && limits === undefined
    if (limits === undefined && !deviceOnly) return []
    const [share, most] = limits ?? [0, 0]
    const program = { kind: kindOf(file), file, args: [...args] }
    const phase = id.split('.')[0] as Phase
    return [{ id, phase, program, share, most, spare, deviceOnly, ...(needs === undefined ? {} : { needs }) }]
  })
}

export interface Selection {
  /** Ids of phases or steps. */
  only?: readonly string[]
  /** A phase or step: it and all after it. */
  from?: string
  /** Steps that an earlier run has completed. */
  done?: ReadonlySet<string>
}

/** @throws RangeError that lists the names there are, for one that is none of them. */
export function selectSteps(all: readonly Step[], { only = [], from, done = new Set() }: Selection): Step[] {
  const names = [...new Set(all.map(({ phase }) => phase)), ...all.map(({ id }) => id)]
  for (const name of [...only, ...(from === undefined ? [] : [from])]) {
    if (names.includes(name)) continue
    throw new RangeError(`expected a phase or step among ${names.join(', ')}, received '${name}'`)
  }
  const fits = (step: Step, name: string) => step.id === name || step.phase === name
  const first = from === undefined ? 0 : all.findIndex((step) => fits(step, from))
  const chosen = all
    .slice(first)
    .filter((step) => only.length === 0 || only.some((name) => fits(step, name)))
    .filter(({ id }) => !done.has(id))
  // Done before or not asked for: what a chosen step reads is gone with the run that wrote it.
  const needed = new Set([...chosen.map(({ id }) => id), ...chosen.map(({ needs }) => needs)])
  return all.filter(({ id }) => needed.has(id))
}
