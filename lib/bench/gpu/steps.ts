/** What scripts/gpu-check does, as data: phases of steps, each step a child process with a time-out of its own. */

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
  /** After which the child is killed; what it has recorded stays. */
  seconds: number
  /** Has no meaning without a device: a rehearsal lists it as skipped. */
  deviceOnly: boolean
  /** A step whose files it reads: it runs before it in the same run. */
  needs?: string
}

interface Row {
  id: string
  file: string
  args?: string[]
  /** In a full run, in --quick (0: left out), in a rehearsal (0: skipped by name). */
  seconds: Record<Mode, number>
  needs?: string
}

const speedOf = (network: string, dtype: string, full: number, quick: number): Row => ({
  id: `speed.${network}-${dtype}`,
  file: 'speed.mjs',
  args: ['--network', network, '--dtype', dtype],
  seconds: { full, quick, dry: 180 },
})
const compileOf = (batch: number): Row => ({
  id: `compile.resnet50-${batch}`,
  file: 'compile.mjs',
  args: ['--batch', String(batch)],
  seconds: { full: 180, quick: 0, dry: 0 },
})

/** In the order in which they run: what matters most comes first, since the budget may end the run. */
const rows: Row[] = [
  { id: 'card.describe', file: 'card.py', seconds: { full: 20, quick: 15, dry: 60 } },
  { id: 'card.probe', file: 'resnet_gpu_probe', seconds: { full: 30, quick: 15, dry: 60 } },
  { id: 'card.matrix', file: 'matrix.py', seconds: { full: 25, quick: 15, dry: 60 } },
  { id: 'accuracy.kernels', file: 'device_kernels_test', seconds: { full: 30, quick: 0, dry: 120 } },
  { id: 'accuracy.reference', file: 'reference.py', seconds: { full: 35, quick: 20, dry: 120 } },
  {
    id: 'accuracy.networks',
    file: 'networks.mjs',
    seconds: { full: 50, quick: 20, dry: 240 },
    needs: 'accuracy.reference',
  },
  { id: 'accuracy.operations', file: 'operations.mjs', seconds: { full: 20, quick: 0, dry: 120 } },
  speedOf('resnet50', 'float16', 110, 45),
  { id: 'speed.layers', file: 'layers.mjs', seconds: { full: 25, quick: 0, dry: 120 } },
  { id: 'speed.serving', file: 'serving.mjs', seconds: { full: 35, quick: 0, dry: 120 } },
  { id: 'speed.start', file: 'start.mjs', seconds: { full: 30, quick: 0, dry: 120 } },
  { id: 'speed.memory', file: 'memory.mjs', seconds: { full: 40, quick: 0, dry: 120 } },
  speedOf('resnet18', 'float16', 40, 0),
  speedOf('resnext50_32x4d', 'float16', 50, 0),
  { id: 'reliability.soak', file: 'soak.mjs', seconds: { full: 50, quick: 0, dry: 60 } },
  { id: 'reliability.cycles', file: 'cycles.mjs', seconds: { full: 20, quick: 0, dry: 120 } },
  { id: 'reliability.outOfMemory', file: 'out-of-memory.mjs', seconds: { full: 25, quick: 0, dry: 120 } },
  { id: 'reliability.sanitizer', file: 'sanitizer.mjs', seconds: { full: 60, quick: 0, dry: 0 } },
  // From here on what a second run may have to finish.
  compileOf(256),
  speedOf('resnet152', 'float16', 60, 0),
  speedOf('resnet50', 'bfloat16', 40, 0),
  speedOf('resnet50', 'tf32', 40, 0),
  compileOf(1),
  compileOf(32),
]

const kindOf = (file: string) =>
  file.endsWith('.py') ? 'python' : file.endsWith('.mjs') ? 'node' : ('native' as const)

/** All steps of a mode, in order. */
export function stepsOf(mode: Mode): Step[] {
  return rows
    .filter(({ seconds }) => mode === 'dry' || seconds[mode] > 0)
    .map(({ id, file, args = [], seconds, needs }) => ({
      id,
      phase: id.split('.')[0] as Phase,
      program: { kind: kindOf(file), file, args: [...args] },
      seconds: seconds[mode],
      deviceOnly: mode === 'dry' && seconds.dry === 0,
      ...(needs === undefined ? {} : { needs }),
    }))
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

/** Seconds that a step may take of what is left of the whole; undefined: none, since it would end at once. */
export function allowance(step: Step, leftSeconds: number): number | undefined {
  const least = 5
  const seconds = Math.min(step.seconds, leftSeconds)
  return seconds >= Math.min(least, step.seconds) ? seconds : undefined
}
