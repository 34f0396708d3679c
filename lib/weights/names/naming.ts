/** One way in which checkpoints name a residual network's tensors. A new one is a file and a row in `match.ts`. */
export interface Naming {
  name: string
  /** Whether a checkpoint with these names is written this way. */
  recognises(names: ReadonlySet<string>): boolean
  /** The plan's name (torchvision's) for a checkpoint's; undefined for one that this naming does not have. */
  toPlan(name: string): string | undefined
  /** The other way round: how a file would call a parameter, for messages. */
  fromPlan(name: string): string
}
