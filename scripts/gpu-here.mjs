// `npm run gpu-check [-- options of scripts/gpu-check]`: on a machine that has a GPU and can build. Builds what is missing from
// this checkout, then runs scripts/gpu-check with it.
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { ensureBuilt, root, run } from './setup.mjs'

const args = process.argv.slice(2)
const listing = args.some((arg) => ['--list', '--help', '-h'].includes(arg))
const dry = args.includes('--dry-run')

ensureBuilt()
if (!listing && !dry) {
  const status = run(process.execPath, [path.join(root, 'scripts', 'build-cuda.mjs'), '--device'])
  if (status !== 0) process.exit(status)
}
const env = { ...process.env, RESNET_NODE: process.execPath }
const child = spawnSync(path.join(root, 'scripts', 'gpu-check'), args, { stdio: 'inherit', env })
if (child.error) console.error(`gpu-check: ${child.error.message}`)
process.exit(child.status ?? 1)
