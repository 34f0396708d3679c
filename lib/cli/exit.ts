/** The command line's exit codes, as `resnet --help` lists them. */
export const exitCode = { ok: 0, someFailed: 1, usage: 2, noModel: 3, interrupted: 130 } as const
export type ExitCode = (typeof exitCode)[keyof typeof exitCode]

/** An error as one JSON line has it. */
export function asJson(error: unknown): { code: string; message: string } {
  const { code, message } = error as { code?: unknown; message?: unknown }
  return {
    code: typeof code === 'string' ? code : 'ERR_RESNET_INTERNAL',
    message: typeof message === 'string' ? message : String(error),
  }
}

export function complain(message: string): void {
  process.stderr.write(`${message}\n`)
}
